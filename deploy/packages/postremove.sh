#!/bin/sh
# After a removal, a purge or an upgrade. The user stays, as usual, because files may belong to it. Undelivered spans
# stay in the spool until a purge.
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
if [ "$1" = purge ]; then rm -rf /var/lib/kata-trace-forwarder /var/log/kata-trace-forwarder; fi
