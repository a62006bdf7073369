#!/bin/sh
# Runs in the Debian that booted.sh has booted: installs, uses, upgrades and removes the .deb, and then the .rpm.
set -eu
service=kata-trace-forwarder.service
settings=/etc/default/kata-trace-forwarder
fail() {
  echo "FAILED: $1"
  systemctl status --no-pager $service || :
  journalctl -u $service --no-pager | tail -n 20
  exit 1
}
is() { [ "$2" = "$3" ] || fail "$1: $2, expected $3"; }

as_expected() { # how it was installed
  said=$(kata-trace-forwarder --version | sed -n 's/^kata-trace-forwarder \([0-9.]*\) .*/\1/p')
  is "the version" "$said" "$KTF_VERSION"
  getent passwd kata-trace-forwarder | grep -q ':/var/lib/kata-trace-forwarder:/usr/sbin/nologin$' || fail "no user"
  is "the settings' mode" "$(stat -c '%U %G %a' $settings)" "root kata-trace-forwarder 640"
  [ -s /usr/share/man/man1/kata-trace-forwarder.1.gz ] || fail "no man page"
  [ -s /usr/share/bash-completion/completions/kata-trace-forwarder ] || fail "no completions"
  grep -q JavaScriptCore /usr/share/doc/kata-trace-forwarder/THIRD-PARTY-NOTICES || fail "no notices"
  is "the service after $1" "$(systemctl is-active $service || :)" inactive
  is "the service at boot" "$(systemctl is-enabled $service || :)" disabled
  status=0
  kata-trace-forwarder check >/tmp/check || status=$?
  case $status in 0 | 3) ;; *) fail "check: exit code $status" ;; esac
  grep -q '^  ok .* this user ' /tmp/check || { cat /tmp/check; fail "check"; }
  kata-trace-forwarder demo >/tmp/demo || fail "the demo"
  grep "spans in 27 traces" /tmp/demo || fail "the demo"
}

in_use() {
  echo "KATA_TRACE_FORWARDER_METRICS=9464" >>$settings
  systemctl enable --now $service 2>/dev/null
  is "the service once started" "$(systemctl is-active $service)" active
  before=$(systemctl show --property MainPID --value $service)
  is "its user" "$(stat -c %U "/proc/$before")" kata-trace-forwarder
}

upgraded() {
  is "the service after an upgrade" "$(systemctl is-active $service)" active
  after=$(systemctl show --property MainPID --value $service)
  [ "$before" != "$after" ] || fail "an upgrade has not restarted it"
  tail -n 1 $settings | grep -qx "KATA_TRACE_FORWARDER_METRICS=9464" || fail "an upgrade has changed the settings"
}

removed() {
  is "the service after a removal" "$(systemctl is-active $service || :)" inactive
  [ ! -e /usr/bin/kata-trace-forwarder ] || fail "the executable is left"
  [ ! -e /etc/systemd/system/multi-user.target.wants/$service ] || fail "it is still enabled"
  [ ! -e "/proc/$after" ] || fail "it still runs"
}

getconf GNU_LIBC_VERSION
new=/packages/kata-trace-forwarder_${KTF_VERSION}-1_amd64.deb
dpkg --install "$new" >/tmp/log 2>&1 || { cat /tmp/log; fail "dpkg --install"; }
grep -q "systemctl enable --now kata-trace-forwarder" /tmp/log || fail "an installation does not say what is next"
as_expected dpkg
dpkg --purge kata-trace-forwarder >/dev/null 2>&1
dpkg --install /packages/kata-trace-forwarder_0.1.0-1_amd64.deb >/dev/null 2>&1
in_use
dpkg --install "$new" >/tmp/log 2>&1 </dev/null || { cat /tmp/log; fail "the upgrade"; }
upgraded
dpkg --remove kata-trace-forwarder >/dev/null 2>&1
removed
[ -e $settings ] || fail "a removal has taken the settings"
dpkg --purge kata-trace-forwarder >/dev/null 2>&1
if [ -e $settings ] || [ -e /var/lib/kata-trace-forwarder ]; then fail "a purge has left something"; fi
echo "the .deb: installed, upgraded while it ran, removed, purged"

new=/packages/kata-trace-forwarder-$KTF_VERSION-1.x86_64.rpm
# Debian's libraries are not in rpm's database.
rpm --install --nodeps --force-debian "$new" >/tmp/log 2>&1 || { cat /tmp/log; fail "rpm --install"; }
rpm --verify --nodeps kata-trace-forwarder | grep -v "$settings" && fail "rpm --verify"
as_expected rpm
rpm --erase --nodeps kata-trace-forwarder
rm -f $settings*
rpm --install --nodeps --force-debian /packages/kata-trace-forwarder-0.1.0-1.x86_64.rpm >/dev/null 2>&1
in_use
rpm --upgrade --nodeps --force-debian "$new" >/tmp/log 2>&1 || { cat /tmp/log; fail "the upgrade"; }
upgraded
rpm --erase --nodeps kata-trace-forwarder
removed
echo "the .rpm: installed, verified, upgraded while it ran, removed"
