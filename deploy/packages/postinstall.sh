#!/bin/sh
# After an installation or an upgrade, from a .deb or an .rpm. The service is not started by an installation, because it
# does not know yet where spans go. An upgrade restarts it if it runs, and systemd stores guests' connections meanwhile.
set -e
name=kata-trace-forwarder
# systemd-sysusers fails where /proc is not mounted, as in a container image's build.
systemd-sysusers /usr/lib/sysusers.d/$name.conf 2>/dev/null || getent passwd $name >/dev/null ||
  useradd --system --user-group --no-create-home --home-dir /var/lib/$name --shell /usr/sbin/nologin $name
# Headers with credentials may be in it.
chgrp $name /etc/default/$name
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart $name.service
fi
# deb: "configure" and the earlier version, if there was one. rpm: 1 for an installation, 2 for an upgrade.
if { [ "$1" = configure ] && [ -z "$2" ]; } || [ "$1" = 1 ]; then
  cat <<TEXT
kata-trace-forwarder is installed, but not started. Next:
  kata-trace-forwarder check                     # what of this host is ready
  editor /etc/default/kata-trace-forwarder       # where spans go
  systemctl enable --now kata-trace-forwarder
TEXT
fi
