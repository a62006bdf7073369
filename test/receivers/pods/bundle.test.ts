import assert from "node:assert/strict";
import { test } from "node:test";
import { podOfBundle } from "../../../src/receivers/pods/bundle.ts";

const ID = "0123456789abcdef".repeat(4);
const UID = "aaaa2b4a-f398-41c0-928b-049e1cc4ec40";
const CONTAINERD = { "container.id": ID, "container.runtime.name": "containerd" };
const CRI_O = { "container.id": ID, "container.runtime.name": "cri-o" };
const POD = { "k8s.pod.name": "web-0", "k8s.namespace.name": "shop", "k8s.pod.uid": UID };

/** As containerd's CRI plugin writes them. */
const CRI_ANNOTATIONS = {
  "io.kubernetes.cri.container-type": "sandbox",
  "io.kubernetes.cri.sandbox-id": ID,
  "io.kubernetes.cri.sandbox-log-directory": `/var/log/pods/shop_web-0_${UID}`,
  "io.kubernetes.cri.sandbox-name": "web-0",
  "io.kubernetes.cri.sandbox-namespace": "shop",
  "io.kubernetes.cri.sandbox-uid": UID,
};

/** As CRI-O writes them. */
const CRI_O_ANNOTATIONS = {
  "io.kubernetes.cri-o.ContainerType": "sandbox",
  "io.kubernetes.cri-o.SandboxID": ID,
  "io.kubernetes.cri-o.KubeName": "web-0",
  "io.kubernetes.cri-o.Namespace": "shop",
  "io.kubernetes.cri-o.Labels": JSON.stringify({ "io.kubernetes.container.name": "POD", "io.kubernetes.pod.uid": UID }),
};

function pod(annotations: unknown, runtime: "containerd" | "cri-o" = "containerd"): Record<string, string> | undefined {
  const found = podOfBundle(JSON.stringify({ ociVersion: "1.1.0", annotations }), ID, runtime);
  return found && Object.fromEntries(found);
}

test("a bundle of containerd's or CRI-O's names the pod", () => {
  assert.deepEqual(pod(CRI_ANNOTATIONS), { ...CONTAINERD, ...POD });
  assert.deepEqual(pod(CRI_O_ANNOTATIONS, "cri-o"), { ...CRI_O, ...POD });
  const plainUid = { ...CRI_O_ANNOTATIONS, "io.kubernetes.cri-o.Labels": "{", "io.kubernetes.pod.uid": UID };
  assert.deepEqual(pod(plainUid, "cri-o"), { ...CRI_O, ...POD });
});

test("without Kubernetes only the container is known", () => {
  assert.deepEqual(pod({}), CONTAINERD);
  assert.deepEqual(pod(undefined), CONTAINERD);
  assert.deepEqual(pod(null), CONTAINERD);
  assert.deepEqual(pod("no object"), CONTAINERD);
});

test("a bundle of another container or sandbox does not count", () => {
  assert.equal(pod({ ...CRI_ANNOTATIONS, "io.kubernetes.cri.container-type": "container" }), undefined);
  assert.equal(pod({ ...CRI_ANNOTATIONS, "io.kubernetes.cri.sandbox-id": "other" }), undefined);
  assert.equal(pod({ ...CRI_O_ANNOTATIONS, "io.kubernetes.cri-o.ContainerType": "container" }, "cri-o"), undefined);
  assert.equal(pod({ ...CRI_O_ANNOTATIONS, "io.kubernetes.cri-o.SandboxID": "other" }, "cri-o"), undefined);
});

test("what is not a name is left out, and the rest stays", () => {
  for (const name of ["", "a".repeat(254), "Web", "a b", "a\u001b[31m", "-a", "a\n", 7, null, { a: 1 }, ["web-0"]]) {
    const { "k8s.pod.name": _, ...others } = POD;
    const annotations = { ...CRI_ANNOTATIONS, "io.kubernetes.cri.sandbox-name": name };
    assert.deepEqual(pod(annotations), { ...CONTAINERD, ...others }, JSON.stringify(name));
  }
  assert.equal(pod({ ...CRI_ANNOTATIONS, "io.kubernetes.cri.sandbox-uid": "a b" })?.["k8s.pod.uid"], undefined);
  for (const labels of ["{}", "7", "null", "[]", "{", 7]) {
    const annotations = { ...CRI_O_ANNOTATIONS, "io.kubernetes.cri-o.Labels": labels };
    assert.equal(pod(annotations, "cri-o")?.["k8s.pod.uid"], undefined);
  }
});

test("a file that is not such JSON says nothing", () => {
  for (const text of ["", "{", "null", "7", '"text"', "[".repeat(100_000), `{"annotations":{"__proto__":{"a":"b"}}`]) {
    assert.equal(podOfBundle(text, ID, "containerd"), undefined, text.slice(0, 40));
  }
});
