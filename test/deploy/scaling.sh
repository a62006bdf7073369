#!/bin/sh
# Checks deploy/collector and docs/scaling.md for real: a forwarder, a load-balancing collector, two collectors behind
# it, found by name; one of the two is killed under load, and every span must be in what they received.
# Use: test/deploy/scaling.sh. Exit code 3: something is lacking, and which is said.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
lacking() { echo "test/deploy/scaling.sh: $1" >&2; exit 3; }
[ "$(id -u)" = 0 ] || lacking "root is needed, for a mount namespace with names of its own"
bin=$(scripts/toolchain)
if [ -z "${KTF_OTELCOL:-}" ]; then
  built=$(test/collector/build)
  KTF_OTELCOL=$(printf '%s\n' "$built" | sed -n 's/^otelcol=//p')
fi
[ -n "${KTF_EXECUTABLE:-}" ] || KTF_EXECUTABLE=$root/$(scripts/build)
export KTF_OTELCOL KTF_EXECUTABLE

echo "== every configuration that can be: otelcol validate"
for file in deploy/collector/load-balancing.yaml deploy/collector/backend.yaml \
  deploy/kubernetes/overlays/in-cluster-collector/collector-config.yaml; do
  BACKENDS_HOSTNAME=backends BACKENDS_PORT=4317 BACKEND_ENDPOINT=backend:4317 \
    "$KTF_OTELCOL" validate --config "$file"
  echo "$file"
done
echo "left out: deploy/collector/kafka-*.yaml, whose components this collector is not built with"

echo "== two collectors behind a load-balancing one"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
: >"$work/hosts"
status=0
# shellcheck disable=SC2016 # for the inner shell
KTF_WORK=$work unshare --mount --propagation private -- \
  sh -c 'mount --bind "$KTF_WORK/hosts" /etc/hosts && exec "$@"' \
    sh "$bin/bun" test/deploy/scaling-checks.ts || status=$?
exit "$status"
