# What the commands of cases/ may use; read by bash before each of them.

# A container without network: `run ARGS` as `docker run`, `run -d` prints no id.
run() { docker run --network none "$@"; }
# In the background, by name; prints nothing.
bg() { docker run -d --network none "$@" >/dev/null; }
create() { docker create --network none "$@"; }
# tty TEXT=KEYS... -- COMMAND: on a terminal; KEYS are typed after TEXT was shown.
tty() { python3 "$EXAM" tty "$@"; }
# until COMMAND: waits for its success.
until_ok() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "never: $*"; }
# Waits until a container has a state: state NAME exited.
state() { until_ok test_state "$@"; }
test_state() { [ "$(docker inspect -f '{{.State.Status}}' "$1" 2>/dev/null)" = "$2" ]; }
# Waits for a text in a container's log.
said() { until_ok bash -c 'docker logs "$0" 2>&1 | grep -q -- "$1"' "$1" "$2"; }
# The time as clients write it.
now() { date +%s.%N; }
# The API by curl: api METHOD PATH [more arguments]; shows the status after the body.
api() { curl -s --unix-socket "$SOCKET" -X "$1" -w '%{http_code}\n' "http://d$2" "${@:3}"; }
