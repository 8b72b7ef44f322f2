#!/bin/sh
# Installs, on Debian and Ubuntu and as root, what tests and benchmarks need and the machine lacks.
#   install-peers.sh demo|test|bench
# Without root, or on another system, it says what is missing and goes on: the tests skip by name.
set -eu
what=${1:-test}

packages=
missing() { # program package
	command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}

missing cc gcc
[ -e /usr/include/stdlib.h ] || packages="$packages libc6-dev"
# The built-in runtime is linked with it; without it, it refuses containers with a seccomp profile.
found=
for library in /usr/lib/*/libseccomp.a /usr/lib64/libseccomp.a /usr/lib/libseccomp.a; do
	[ ! -e "$library" ] || found=1
done
[ -n "$found" ] || packages="$packages libseccomp-dev"
# The test image is a static busybox; the package `busybox` alone is not always static.
if ! command -v busybox >/dev/null 2>&1 || ldd "$(command -v busybox)" >/dev/null 2>&1; then
	packages="$packages busybox-static"
fi
# Networks: the daemon needs nft; the tests look at what is left, and stand beside others' rules.
missing nft nftables
missing ip iproute2
missing iptables iptables
case $what in
demo)
	# The syslog server that the demo ships to.
	[ -x /usr/sbin/rsyslogd ] || packages="$packages rsyslog"
	;;
test | bench)
	# What the built-in runtime is compared with.
	missing runc runc
	missing crun crun
	missing docker docker.io
	missing dockerd docker.io
	missing jq jq
	missing python3 python3
	missing skopeo skopeo
	# The registry that images are pushed to and pulled from.
	missing docker-registry docker-registry
	# Completion is tried in them.
	missing bash bash
	missing zsh zsh
	missing fish fish
	# Receivers of log drivers.
	[ -x /lib/systemd/systemd-journald ] || packages="$packages systemd"
	command -v openssl >/dev/null 2>&1 || packages="$packages openssl"
	missing rsyslogd rsyslog
	ls /usr/lib/*/rsyslog/imrelp.so >/dev/null 2>&1 || packages="$packages rsyslog-relp"
	ls /usr/lib/*/rsyslog/lmnsd_gtls.so >/dev/null 2>&1 || packages="$packages rsyslog-gnutls"
	;;
*)
	echo "install-peers.sh: $what: demo, test or bench" >&2
	exit 64
	;;
esac
if [ "$what" = bench ]; then
	missing podman podman
	missing conmon conmon
fi
if [ "$what" = test ] && ! python3 -c 'import docker' >/dev/null 2>&1 && ! /usr/bin/python3 -c 'import docker' >/dev/null 2>&1; then
	packages="$packages python3-docker"
fi
# syslog-ng and rsyslog cannot both be installed: syslog-ng is unpacked beside, its libraries are installed.
syslog_ng=/opt/taffrail-peers/syslog-ng
unpack=
if [ "$what" = test ] && [ ! -x $syslog_ng/usr/sbin/syslog-ng ] && ! command -v syslog-ng >/dev/null 2>&1; then
	unpack=1
fi
[ -n "$packages$unpack" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "install-peers.sh: missing:$packages (not root: left so)" >&2
	exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "install-peers.sh: missing:$packages (no apt-get here: left so)" >&2
	exit 0
fi
echo "installing:$packages"
export DEBIAN_FRONTEND=noninteractive
# Docker's package would start its daemon; it is not wanted here, and there may be no init at all.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 0755 $policy
	made=1
fi
status=0
apt-get update -qq || status=$?
# Newer Debian and Ubuntu have the client in a package of its own.
if [ "$what" != demo ] && ! command -v docker >/dev/null 2>&1 && apt-cache show docker-cli >/dev/null 2>&1; then
	packages="$packages docker-cli"
fi
# shellcheck disable=SC2086
[ -z "$packages" ] || apt-get install -y -qq --no-install-recommends $packages >/dev/null || status=$?
[ -z "$made" ] || rm -f $policy
if [ -n "$unpack" ]; then
	# A failure leaves the tests with it failing by name.
	libraries=$(apt-cache depends syslog-ng-core 2>/dev/null | sed -n 's/^ *Depends: \(lib[^ <]*\).*/\1/p' | sort -u)
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $libraries >/dev/null || :
	folder=$(mktemp -d)
	(cd "$folder" && apt-get download -qq syslog-ng-core >/dev/null 2>&1 && mkdir -p $syslog_ng && dpkg-deb -x syslog-ng-core_*.deb $syslog_ng) || :
	rm -rf "$folder"
fi
if [ $status -ne 0 ]; then
	echo "install-peers.sh: apt-get failed with $status; the tests skip what needs:$packages" >&2
	[ "$what" != demo ] || exit $status
fi
exit 0
