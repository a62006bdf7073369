#!/bin/sh
# Sourced by tests that boot systemd in a container, which set `work`, where that is mounted, and `lacking`: sets
# `own_scope` for systemd-nspawn, and `clean_up` takes everything away.
# shellcheck disable=SC2034,SC2154 # see above
# Without a systemd of this machine's own, the container's control groups are made in the caller's, and left there.
own_scope=--keep-unit
groups="/sys/fs/cgroup/payload /sys/fs/cgroup/supervisor"
for hierarchy in systemd unified; do
  groups="$groups /sys/fs/cgroup/$hierarchy/payload /sys/fs/cgroup/$hierarchy/supervisor"
done
if [ -d /run/systemd/system ]; then own_scope=; groups=; fi
for group in $groups; do
  [ ! -e "$group" ] || lacking "$group is there already: another container is booted from here"
done

clean_up() {
  umount -R "$work" 2>/dev/null || :
  rmdir "$work"
  for group in $groups; do
    [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} \;
  done
}
