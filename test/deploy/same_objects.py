"""Checks that Helm's chart has the same objects as Kustomize's overlay, and that the DaemonSets differ only in what the
chart's values change. Arguments: the two renderings."""

import sys

import yaml


def objects(path):
    """By kind and name; the hashes that Kustomize puts behind ConfigMaps' names are cut off."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for each in yaml.safe_load_all(file):
            if not each or each["kind"] == "Namespace":
                continue
            name = each["metadata"]["name"]
            if each["kind"] == "ConfigMap" and len(name.rsplit("-", 1)[-1]) == 10 and name[-10:] != "-dashboard"[-10:]:
                name = name[:-11]
            found[each["kind"], name] = each
    return found


def without_vsock(named):
    """Mounts or volumes by their names; values can leave out the vsock device."""
    return {each["name"]: each for each in named if each["name"] != "vsock"}


def container(daemon_set):
    """What of the forwarder's container and its pod values do not change."""
    pod = daemon_set["spec"]["template"]["spec"]
    found = dict(pod["containers"][0])
    for key in ("image", "imagePullPolicy", "envFrom"):
        found.pop(key, None)
    found["volumeMounts"] = without_vsock(found["volumeMounts"])
    # Values can name another directory of the kubelet, and Kustomize adds a hash to ConfigMaps' names.
    found["volumes"] = {
        name: None if "configMap" in each or "kubelet" in str(each) else each
        for name, each in without_vsock(pod["volumes"]).items()
    }
    return {**found, "host": [pod.get(key) for key in ("hostNetwork", "dnsPolicy", "serviceAccountName")]}


kustomize, helm = (objects(path) for path in sys.argv[1:3])
# The overlay's policy for the endpoint is part of the chart's only one.
kustomize.pop(("NetworkPolicy", "kata-trace-forwarder-to-endpoint"), None)
if kustomize.keys() != helm.keys():
    sys.exit(f"only one has: {sorted(kustomize.keys() ^ helm.keys())}")
key = ("DaemonSet", "kata-trace-forwarder")
if container(kustomize[key]) != container(helm[key]):
    sys.exit("the containers differ")
seccomp = ("ConfigMap", "kata-trace-forwarder-seccomp")
if kustomize[seccomp]["data"]["seccomp.json"].strip() != helm[seccomp]["data"]["seccomp.json"].strip():
    sys.exit("the seccomp profiles differ")
print(f"Helm and Kustomize: the same {len(helm)} objects")
