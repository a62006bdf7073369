#!/bin/sh
# Sourced by packages.sh, which sets `root` and `work`: runs a script in a Debian that systemd has booted, in a
# container of its own.
# shellcheck disable=SC2154 # see above
. "$root/test/deploy/container.sh"

in_debian() { # tree script
  mkdir "$work/upper" "$work/overlay" "$work/system" "$work/out"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$work/upper,workdir=$work/overlay" "$work/system"
  cat >"$work/system/etc/systemd/system/check.service" <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
Environment=KTF_VERSION=$KTF_VERSION
StandardOutput=append:/out/log
StandardError=append:/out/log
ExecStart=/bin/sh -c '/bin/sh /project/$2; systemctl exit \$\$?'
UNIT
  # A machine of its own, or its journal would be taken for this one's.
  rm -f "$work/system/etc/machine-id"
  systemd-id128 new >"$work/system/etc/machine-id"
  status=0
  # shellcheck disable=SC2086 # none or one word
  timeout --kill-after=10 300 systemd-nspawn --quiet --directory="$work/system" --register=no $own_scope \
    --private-network --link-journal=no --console=read-only --bind="$work/out:/out" --bind-ro="$root:/project" \
    --bind-ro="$work/packages:/packages" --boot -- --unit=check.service </dev/null >"$work/console" 2>&1 || status=$?
  cat "$work/out/log" || cat "$work/console"
  return "$status"
}
