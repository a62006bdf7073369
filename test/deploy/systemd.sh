#!/bin/sh
# Checks deploy/systemd: the unit is correct (systemd-analyze verify), its sandbox is as tight as it was
# (systemd-analyze security), and the service works under a real systemd, booted in a container of its own.
# Use: test/deploy/systemd.sh. Exit code 3: something is lacking, and which is said.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
unit=kata-trace-forwarder.service
# The exposure that systemd 252 reckons, of 10 (worst), times ten. ProtectHome=yes would take off 1, and a bounding set
# without CAP_SYS_PTRACE 2.
most_exposure=33

lacking() { echo "test/deploy/systemd.sh: $1" >&2; exit 3; }
for tool in systemd-analyze systemd-nspawn; do
  command -v "$tool" >/dev/null 2>&1 ||
    lacking "$tool is not installed (Debian: apt-get install systemd systemd-container)"
done
[ "$(id -u)" = 0 ] || lacking "root is needed to boot a systemd in a container"
bun=$(readlink -f "$("$root/scripts/toolchain")/bun")
executable=${KTF_EXECUTABLE:-$root/$("$root/scripts/build")}

# Everything that is mounted goes with the mount namespace.
if [ "${KTF_SYSTEMD_TEST:-}" != mounted ]; then
  KTF_SYSTEMD_TEST=mounted exec unshare --mount --propagation private -- "$0"
fi
work=$(mktemp -d)
. "$root/test/deploy/container.sh"
trap clean_up EXIT
trap 'exit 130' HUP INT TERM
mount -t tmpfs tmpfs "$work"

echo "== systemd-analyze verify"
# The program that it starts must exist: here it is where it was built.
sed "s|^ExecStart=/usr/local/bin/kata-trace-forwarder|ExecStart=$executable|" \
  "$root/deploy/systemd/$unit" >"$work/$unit"
# A version before 254 does not know FileDescriptorStorePreserve=, and does without.
problems=$(systemd-analyze verify "$work/$unit" 2>&1 | grep -F "$unit" | grep -v "'FileDescriptorStorePreserve'" || :)
if [ -n "$problems" ]; then echo "$problems"; exit 1; fi
echo "nothing to complain of"

echo "== systemd-analyze security"
score=$(systemd-analyze security --offline=true --no-pager "$work/$unit" | tail -n 1)
echo "$score"
exposure=$(echo "$score" | sed -n 's/.*: \([0-9]*\)\.\([0-9]\) .*/\1\2/p')
[ "$exposure" -le "$most_exposure" ] || { echo "the exposure has grown, it was $most_exposure / 10"; exit 1; }

echo "== the service under systemd"
mkdir "$work/upper" "$work/overlay" "$work/system" "$work/out"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/overlay" "$work/system"
system=$work/system
install -D "$executable" "$system/usr/local/bin/kata-trace-forwarder"
install -D -m 644 "$root/deploy/systemd/$unit" "$system/etc/systemd/system/$unit"
install -D -m 644 "$root/deploy/systemd/kata-trace-forwarder.sysusers" \
  "$system/usr/lib/sysusers.d/kata-trace-forwarder.conf"
cat >"$system/etc/systemd/system/check.service" <<EOF
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=append:/out/log
StandardError=append:/out/log
ExecStart=/bin/sh -c 'systemd-sysusers && \\
  /project${bun#"$root"} /project/test/deploy/systemd-checks.ts; systemctl exit \$\$?'
EOF
# A machine of its own, or its journal would be taken for this one's.
systemd-id128 new >"$system/etc/machine-id"
status=0
# shellcheck disable=SC2086 # none or one word
timeout --kill-after=10 180 systemd-nspawn --quiet --directory="$system" --register=no $own_scope --private-network \
  --link-journal=no --console=read-only --bind="$work/out:/out" --bind-ro="$root:/project" \
  --boot -- --unit=check.service </dev/null >"$work/console" 2>&1 || status=$?
cat "$work/out/log" || cat "$work/console"
exit "$status"
