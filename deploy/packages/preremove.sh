#!/bin/sh
# Before a removal or an upgrade. deb: "remove", or "upgrade" and the new version. rpm: 0 for a removal, 1 for an
# upgrade.
set -e
if [ "$1" != remove ] && [ "$1" != 0 ]; then exit 0; fi
if [ -d /run/systemd/system ]; then
  systemctl disable --now kata-trace-forwarder.service
else
  rm -f /etc/systemd/system/multi-user.target.wants/kata-trace-forwarder.service
fi
