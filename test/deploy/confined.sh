#!/bin/sh
# Called by kubernetes.sh in a mount namespace of its own: runs the init container's and the container's command under
# the confinement of the DaemonSet. The variables KTF_… say what and where.
set -eu
sandbox=$KTF_WORK/vc/vm/sandbox
mount -t tmpfs tmpfs "$KTF_WORK"
mkdir -p "$sandbox" "$KTF_WORK/node" "$KTF_WORK/state"
# The emptyDir of the viewer's component.
mkdir -m 777 "$KTF_WORK/tmp"
# As Kata makes it; only root's own may enter it.
chmod 711 "$KTF_WORK" "$KTF_WORK/state"
chmod 750 "$KTF_WORK/vc" "$KTF_WORK/vc/vm" "$sandbox"
mount -o remount,bind,ro /

KATA_TRACE_FORWARDER_INTERNAL_COPY=$KTF_PROFILE:$KTF_WORK/node/seccomp.json \
  setpriv --no-new-privs --bounding-set=-all "$KTF_EXECUTABLE"
cmp "$KTF_PROFILE" "$KTF_WORK/node/seccomp.json"
echo "the init container copies the profile"

KTF_LOG=$KTF_WORK/log
TMPDIR=$KTF_WORK/tmp setpriv --no-new-privs --bounding-set=-all,+setuid,+setgid,+chown,+dac_override \
  "$KTF_PYTHON" test/deploy/seccomp.py "$KTF_WORK/node/seccomp.json" "$KTF_EXECUTABLE" \
  --socket-path "$KTF_WORK/vc/vm/{ID}/clh.sock" --vsock-cid any \
  --spool-dir "$KTF_WORK/state/spool" --metrics 127.0.0.1:19465 \
  --view 127.0.0.1:19467 --otlp-endpoint http://localhost:19466 >"$KTF_LOG" 2>&1 &
forwarder=$!
tries=0
until grep -q '"msg":"listening"' "$KTF_LOG"; do
  tries=$((tries + 1))
  if [ "$tries" -gt 100 ] || ! kill -0 "$forwarder" 2>/dev/null; then cat "$KTF_LOG"; exit 1; fi
  sleep 0.1
done
nobody=$(id -u nobody)
grep -E "^(Uid|CapEff|NoNewPrivs|Seccomp_filters):" "/proc/$forwarder/status"
grep -q "^Uid:[[:space:]]${nobody}[[:space:]]${nobody}[[:space:]]" "/proc/$forwarder/status"
mkdir -m 750 "$KTF_WORK/vc/vm/later"
tries=0
until [ -S "$sandbox/clh.sock_10240" ] && [ -S "$KTF_WORK/vc/vm/later/clh.sock_10240" ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt 100 ]; then cat "$KTF_LOG"; exit 1; fi
  sleep 0.1
done
[ "$(stat -c '%u %a' "$KTF_WORK/state/spool")" = "$nobody 700" ]
# Its page is served, and what is not allowed of the viewer's processes would have ended them.
"$KTF_PYTHON" -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:19467/").read()'
[ -n "$(ls "$KTF_WORK/tmp")" ]
status=0
kill -TERM "$forwarder"
wait "$forwarder" || status=$?
[ "$status" = 0 ] || { cat "$KTF_LOG"; exit 1; }
# The temporary store goes with it.
[ -z "$(ls "$KTF_WORK/tmp")" ]
echo "the container listens in directories of root's, also later ones, becomes nobody, has its spool and its viewer," \
  "and stops cleanly"
