#!/bin/sh
# Checks deploy/kubernetes and what is beside it. kustomize renders every overlay, and helm the chart, which has to have
# the same objects. All of them are validated against the Kubernetes schemas (custom resources against their own
# definitions). promtool checks and tests the alerts. The forwarder runs under what the DaemonSet leaves it: its seccomp
# profile, its capabilities, no new privileges, a read-only root.
# Use: test/deploy/kubernetes.sh. Exit code 3: something is lacking, and which is said.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
cache=${KTF_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/kata-trace-forwarder}/deploy
# The oldest release that manifests shall still fit, and the newest that the tool knows.
kubernetes_versions="1.30 1.37"
operator=github.com/prometheus-operator/prometheus-operator@v0.94.1
operator_sum="h1:QEIb2wenPH+SdMN1xMf8l4Pmj00YYXXI6HlbLlQWkww="
base=deploy/kubernetes/base

lacking() { echo "test/deploy/kubernetes.sh: $1" >&2; exit 3; }
command -v go >/dev/null 2>&1 || lacking "go is needed to build kustomize, helm and promtool, and is not installed"
command -v python3 >/dev/null 2>&1 || lacking "python3 is not installed (Debian: apt-get install python3 python3-venv)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM

kustomize=$(scripts/go-tool kustomize)
helm=$(scripts/go-tool helm)
promtool=$(scripts/go-tool promtool)
venv=$cache/python-$(sha256sum test/deploy/requirements.txt | cut -c1-16)
if [ ! -x "$venv/bin/kubernetes-validate" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv" >&2 ||
    lacking "python3 cannot make a virtual environment (Debian: apt-get install python3-venv)"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r test/deploy/requirements.txt >&2
fi
module=$(cd "$work" && GOFLAGS=-mod=mod go mod download -json "$operator")
echo "$module" | grep -qF "\"$operator_sum\"" || { echo "$operator is not what it was"; exit 1; }
definitions=$(echo "$module" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/example/prometheus-operator-crd

echo "== kustomize build"
# Beside the overlays, one with each component that none of them has.
cp -r deploy/kubernetes deploy/prometheus deploy/grafana "$work"
mkdir "$work/kubernetes/overlays/host-network"
cat >"$work/kubernetes/overlays/host-network/kustomization.yaml" <<'END'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../endpoint
components:
  - ../../components/host-network
END
mkdir "$work/kubernetes/overlays/viewer"
cat >"$work/kubernetes/overlays/viewer/kustomization.yaml" <<'END'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../endpoint
components:
  - ../../components/viewer
END
for overlay in "$work"/kubernetes/overlays/*/; do
  name=$(basename "$overlay")
  "$kustomize" build "$overlay" >"$work/$name.yaml"
  echo "$name: $(grep -c '^kind:' "$work/$name.yaml") resources"
done

echo "== helm lint and template"
chart=deploy/helm/kata-trace-forwarder
# Helm says of each link to the one source of the manifests that it follows it.
quiet() { "$@" 2>"$work/said" || { cat "$work/said" >&2; return 1; }; }
# Helm's module does not say for which release of Kubernetes it renders.
rendered() { quiet "$helm" template release "$chart" --namespace tracing --kube-version 1.30 "$@"; }
quiet "$helm" lint --quiet --strict "$chart"
rendered >"$work/helm-default.yaml"
rendered --set endpoint=https://otlp.example.com:4317 \
  --set podMonitor.enabled=true --set prometheusRule.enabled=true --set dashboard.enabled=true --set vsock=false \
  --set environment.KATA_TRACE_FORWARDER_REDACT=default --set kubeletDirectory=/var/lib/k0s/kubelet \
  --set "image.digest=sha256:$(printf '%064d' 0)" >"$work/helm-all.yaml"
grep -q 'KATA_TRACE_FORWARDER_REDACT: default' "$work/helm-all.yaml"
grep -q 'path: /var/lib/k0s/kubelet/seccomp/kata-trace-forwarder' "$work/helm-all.yaml"
grep -q "image: kata-trace-forwarder@sha256:0" "$work/helm-all.yaml"
if grep -q 'path: /dev/vsock' "$work/helm-all.yaml"; then echo "vsock=false leaves /dev/vsock"; exit 1; fi
for wrong in image.digest=1234 endpoint.x=1 vsok=true environment.1x=2; do
  if rendered --set "$wrong" >/dev/null 2>&1; then echo "$wrong is accepted"; exit 1; fi
done
rendered --set hostNetwork=true --set podMonitor.enabled=true --set prometheusRule.enabled=true \
  --set dashboard.enabled=true >"$work/helm-host-network.yaml"
rendered --set viewer.enabled=true --set podMonitor.enabled=true --set prometheusRule.enabled=true \
  --set dashboard.enabled=true >"$work/helm-viewer.yaml"
"$venv/bin/python" test/deploy/same_objects.py "$work/endpoint.yaml" "$work/helm-all.yaml"
"$venv/bin/python" test/deploy/same_objects.py "$work/viewer.yaml" "$work/helm-viewer.yaml"
"$venv/bin/python" test/deploy/same_objects.py "$work/host-network.yaml" "$work/helm-host-network.yaml"

echo "== promtool"
scripts/prometheus-rule --check
"$promtool" check rules --lint=all deploy/prometheus/alerts.yaml
"$promtool" test rules deploy/prometheus/alerts.test.yaml
for alert in $(sed -n 's/^ *- alert: //p' deploy/prometheus/alerts.yaml); do
  grep -q "alertname: $alert\$" deploy/prometheus/alerts.test.yaml || { echo "$alert has no test"; exit 1; }
done

for version in $kubernetes_versions; do
  echo "== kubernetes-validate, Kubernetes $version"
  # PodMonitor and PrometheusRule are not kinds of Kubernetes' own: the next step is for them.
  "$venv/bin/kubernetes-validate" --strict --kubernetes-version "$version" "$work"/*.yaml >"$work/validation" 2>&1 ||
    { cat "$work/validation"; exit 1; }
  passed=$(grep -c '^INFO .* passed for resource' "$work/validation")
  unknown=$(grep -cE '^WARN .*find schema for kind (PodMonitor|PrometheusRule) ' "$work/validation")
  echo "$passed resources pass, $unknown are the Prometheus operator's"
  [ $((passed + unknown)) = "$(cat "$work"/*.yaml | grep -c '^kind:')" ] || { cat "$work/validation"; exit 1; }
done

echo "== custom resources"
"$venv/bin/python" test/deploy/custom_resources.py \
  "$definitions/monitoring.coreos.com_podmonitors.yaml" \
  "$definitions/monitoring.coreos.com_prometheusrules.yaml" -- "$work"/*.yaml |
  sed "s|$work/||"

echo "== the seccomp profile"
"$venv/bin/python" -c 'import pyseccomp' 2>/dev/null ||
  lacking "libseccomp is not installed (Debian: apt-get install libseccomp2)"
families=$("$venv/bin/python" test/deploy/seccomp.py "$base/seccomp.json" --families)
echo "$families"
for denied in AF_PACKET AF_ALG; do
  echo "$families" | grep -qx "$denied ENOSYS" || { echo "$denied is not denied"; exit 1; }
done
for allowed in AF_UNIX AF_INET AF_INET6 AF_NETLINK; do
  echo "$families" | grep -qx "$allowed allowed" || { echo "$allowed is denied"; exit 1; }
done
# A kernel without it says EAFNOSUPPORT, which is not the profile's word.
echo "$families" | grep -qE '^AF_VSOCK (allowed|EAFNOSUPPORT)$' || { echo "AF_VSOCK is denied"; exit 1; }

echo "== the forwarder as the DaemonSet runs it"
[ "$(id -u)" = 0 ] || lacking "root is needed to run the forwarder as the DaemonSet does"
command -v setpriv >/dev/null 2>&1 || lacking "setpriv is not installed (Debian: apt-get install util-linux)"
executable=${KTF_EXECUTABLE:-$root/$(scripts/build)}
KTF_EXECUTABLE=$executable KTF_PYTHON=$venv/bin/python KTF_WORK=$work KTF_PROFILE=$root/$base/seccomp.json \
  unshare --mount --propagation private -- sh test/deploy/confined.sh
