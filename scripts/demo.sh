#!/usr/bin/env bash
# Shows Taffrail working, from a fresh clone, on temporary roots; leaves nothing. Needs root, Rust, Debian or Ubuntu.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
	echo "make demo needs root: it runs containers" >&2
	exit 1
fi
if ! command -v cargo >/dev/null 2>&1; then
	echo "make demo needs Rust: https://rustup.rs" >&2
	exit 1
fi

if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m'); else bold='' dim='' plain=''; fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
show() { # prints a command as it would be typed, then runs it
	printf '%s$ %s%s\n' "$dim" "$*" "$plain"
	"$@"
}
fail() {
	echo "demo: FAILED: $*" >&2
	exit 1
}

root=$(mktemp -d /tmp/taffrail-demo.XXXXXX)
daemon=
rsyslog=
# Everything this script starts names $root or is the child kept in $daemon.
cleanup() {
	status=$?
	trap - EXIT INT TERM
	if [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null; then
		ids=$(t ps -aq 2>/dev/null || true)
		# shellcheck disable=SC2086
		[ -z "$ids" ] || t rm -f $ids >/dev/null 2>&1 || true
		kill -TERM "$daemon" 2>/dev/null || true
		wait "$daemon" 2>/dev/null || true
	fi
	if [ -n "$rsyslog" ]; then
		kill "$rsyslog" 2>/dev/null || true
		wait "$rsyslog" 2>/dev/null || true
	fi
	left=$(leftovers)
	if [ $status -ne 0 ] && [ -f "$root/daemon.log" ]; then
		echo "--- the daemon's log, last lines" >&2
		tail -n 40 "$root/daemon.log" >&2
	fi
	if [ -n "$left" ]; then
		printf 'demo: left behind:\n%s\n' "$left" >&2
		status=1
		for pid in $(processes); do kill -KILL "$pid" 2>/dev/null || true; done
		awk '{print $5}' /proc/self/mountinfo | grep -F "$root/" | sort -r | xargs -r -n1 umount -l 2>/dev/null || true
	fi
	rm -rf "$root"
	[ $status -ne 0 ] || printf '\n%sNothing is left: no process, no mount, no file below %s.%s\n' "$bold" "$root" "$plain"
	exit $status
}
processes() { # that name the demo's folder in their program, folder or arguments; never this script
	for folder in /proc/[0-9]*; do
		pid=${folder#/proc/}
		[ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] || continue
		if { tr '\0' ' ' <"$folder/cmdline"; readlink "$folder/exe" "$folder/cwd"; } 2>/dev/null | grep -qF "$root"; then
			echo "$pid"
		fi
	done
}
leftovers() {
	for _ in $(seq 100); do
		found=$(
			for pid in $(processes); do echo "process $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"; done
			awk '{print "mount " $5}' /proc/self/mountinfo | grep -F "$root" || true
		)
		[ -n "$found" ] || return 0
		sleep 0.1
	done
	echo "$found"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step "What is missing on this machine"
sh scripts/install-peers.sh demo
echo "libseccomp: $(ls /usr/lib/*/libseccomp.a /usr/lib64/libseccomp.a /usr/lib/libseccomp.a 2>/dev/null | head -n1)"

step "Build"
show make --no-print-directory build workload 2>&1
bin=${CARGO_TARGET_DIR:-target}/fast
t() { "$bin/taffrail" -H "unix://$root/docker.sock" "$@"; }
taffrail() {
	printf '%s$ taffrail %s%s\n' "$dim" "$*" "$plain"
	t "$@"
}

step "A daemon.json with defaults for every container's log"
mkdir -p "$root/data" "$root/exec"
cat >"$root/daemon.json" <<JSON
{
  "log-driver": "json-file",
  "log-opts": { "max-size": "10m", "max-file": "3", "tag": "{{.Name}}" }
}
JSON
show cat "$root/daemon.json"
show "$bin/taffrail" daemon --validate --config-file "$root/daemon.json"

start_daemon() {
	"$bin/taffrail" daemon --config-file "$root/daemon.json" --data-root "$root/data" --exec-root "$root/exec" \
		--host "unix://$root/docker.sock" --pidfile "$root/pid" >>"$root/daemon.log" 2>&1 &
	daemon=$!
	for _ in $(seq 200); do
		if t version >/dev/null 2>&1; then return 0; fi
		kill -0 "$daemon" 2>/dev/null || fail "the daemon ended: $(tail -n 5 "$root/daemon.log")"
		sleep 0.05
	done
	fail "the daemon does not answer"
}
step "A private daemon on temporary roots"
start_daemon
taffrail version

step "An image: busybox, from a tar"
image=$root/image
mkdir -p "$image"/{bin,etc,tmp,proc,sys,dev,tally}
cp "$(command -v busybox)" "$image/bin/busybox"
cp "${CARGO_TARGET_DIR:-target}/workload" "$image/bin/workload"
for applet in $("$image/bin/busybox" --list); do [ -e "$image/bin/$applet" ] || ln -s busybox "$image/bin/$applet"; done
echo 'root:x:0:0:root:/:/bin/sh' >"$image/etc/passwd"
tar -C "$image" -c . | t import - busybox:demo
taffrail images

step "A container that writes to both streams"
taffrail run -d --name hello --network none busybox:demo \
	sh -c 'for i in 1 2 3; do echo "line $i to stdout"; echo "line $i to stderr" >&2; sleep 0.1; done; exec sleep 1000'
for _ in $(seq 100); do
	[ "$(t logs hello 2>&1 | wc -l)" -lt 6 ] || break
	sleep 0.05
done
taffrail ps
taffrail logs -t hello
[ "$(t logs hello 2>/dev/null | wc -l)" = 3 ] || fail "stdout has not three lines"
[ "$(t logs hello 2>&1 >/dev/null | wc -l)" = 3 ] || fail "stderr has not three lines"
taffrail logs --tail 2 hello
if command -v docker >/dev/null 2>&1; then
	echo "The unmodified docker CLI sees the same:"
	DOCKER_CONFIG=$root show docker -H "unix://$root/docker.sock" ps
fi

step "Docker's json file, where Docker has it below the data root"
id=$(t ps -q --no-trunc)
file=$root/data/containers/$id/$id-json.log
show head -n 2 "$file"
step "The defaults of daemon.json: in the container's settings, and the tag in each record"
t inspect hello | grep -A6 '"LogConfig"'
t inspect hello | grep -q '"max-size": "10m"' || fail "max-size of daemon.json is not in inspect"
grep -q '"attrs":{"tag":"hello"}' "$file" || fail "the tag is not in the file"

step "kill -9 of the daemon, three times, while a container writes 20 000 lines a second"
mkdir -p "$root/tally"
writer=$(t run -d --name writer --network none --log-opt max-size=100m -v "$root/tally:/tally" busybox:demo \
	workload lines lines=0 rate=20000 tally=/tally/written exit=7)
for round in 1 2 3; do
	sleep 0.5
	kill -KILL "$daemon"
	wait "$daemon" 2>/dev/null || true
	before=$(awk '{print $1 + 0}' "$root/tally/written")
	sleep 0.5
	after=$(awk '{print $1 + 0}' "$root/tally/written")
	echo "round $round: the daemon is dead, the container goes on: line $before ... line $after"
	[ "$after" -gt "$before" ] || fail "the container stands still without the daemon"
	start_daemon
done
t kill -s TERM writer >/dev/null
code=$(t wait writer)
written=$(awk '{print $1 + 0}' "$root/tally/written")
logged=$(t logs writer | wc -l)
unique=$(t logs writer | awk '{print $2}' | sort -u | wc -l)
echo "written by the container: $written lines; in its log: $logged, of them different: $unique; exit code: $code"
[ "$written" = "$logged" ] && [ "$logged" = "$unique" ] || fail "lines were lost or doubled"
[ "$code" = 7 ] || fail "the exit code is not the container's"

step "Shipping to a syslog server, which is not there yet"
port=$((20000 + $$ % 20000))
taffrail run -d --name shipped --network none --log-driver json-file,syslog \
	--log-opt syslog-address=tcp://127.0.0.1:$port --log-opt syslog.tag=demo busybox:demo \
	sh -c 'i=0; while [ $i -lt 1000 ]; do i=$((i + 1)); echo "order $i"; done'
t wait shipped >/dev/null
echo "The container has come and gone; its log is here, and waits for the server:"
taffrail logs --tail 1 shipped
for _ in $(seq 100); do
	t ps -a --logs | grep -q retrying && break
	sleep 0.05
done
taffrail ps -a --logs
cat >"$root/rsyslog.conf" <<CONF
module(load="imtcp")
input(type="imtcp" port="$port" address="127.0.0.1")
template(name="raw" type="string" string="%syslogtag%%msg%\n")
*.* action(type="omfile" file="$root/received" template="raw" asyncWriting="off" ioBufferSize="1")
CONF
echo "rsyslog is started:"
/usr/sbin/rsyslogd -n -f "$root/rsyslog.conf" -i "$root/rsyslog.pid" >"$root/rsyslog.log" 2>&1 &
rsyslog=$!
for _ in $(seq 400); do
	[ -f "$root/received" ] && [ "$(grep -c 'order ' "$root/received")" -ge 1000 ] && break
	sleep 0.05
done
show head -n 2 "$root/received"
received=$(grep -c 'order ' "$root/received" || true)
unique=$(sed -n 's/.*order //p' "$root/received" | sort -u | wc -l)
echo "received: $received records, of them different: $unique"
[ "$received" = 1000 ] && [ "$unique" = 1000 ] || fail "not every record arrived once"
taffrail ps -a --logs
kill "$rsyslog"
wait "$rsyslog" 2>/dev/null || true
rsyslog=

step "Clean-up"
taffrail rm -f hello writer shipped
taffrail ps -a
