#!/bin/sh
# Installs what a lab of hosts needs, on Debian and Ubuntu; does nothing where all of it is there.
# No service is started: policy-rc.d forbids that while packages are set up.
set -eu

needed=""
for pair in sshd:openssh-server ssh:openssh-client ip:iproute2 tc:iproute2 sudo:sudo nsenter:util-linux sysctl:procps; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || needed="$needed ${pair#*:}"
done
[ -x /usr/bin/python3 ] || needed="$needed python3" # that of the system: another one does not show inside the hosts
[ -n "$needed" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing:$needed (to be installed by root, with apt-get)" >&2
    exit 1
fi
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of names
apt-get -qq install --no-install-recommends $needed >/dev/null 2>&1 ||
    { apt-get -qq update && apt-get -qq install --no-install-recommends $needed >/dev/null; }
