import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { decodeResource } from "../decode/support/decode-span.ts";
import { fixture } from "../decode/support/fixtures.ts";
import { jaegerBodies } from "../decode/support/jaeger-fixtures.ts";
import { plain } from "../decode/support/jaeger-decode.ts";
import { NEEDS_ROOT } from "../support/root.ts";
import { startForwarder } from "./support/forwarder.ts";
import { portOf, postBodies } from "./support/host.ts";
import { Page, viewerUrl } from "./support/page.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { spansOf, taken } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** What the recorded session of the Go runtime says it is of. */
const RUNTIMES_ID = "00000000000000000000000000000000000000000000000040507b35c8cfdf40";
const CONTAINERD = "/run/containerd/io.containerd.runtime.v2.task";
const CRI_O = "/run/containers/storage/overlay-containers";
const SHORT = 32;
const UID = "aaaa2b4a-f398-41c0-928b-049e1cc4ec40";

/** OCI bundles where container runtimes have them, which only root may read. They are removed afterwards. */
class Bundles implements Disposable {
  readonly #made: string[] = [];
  /** A namespace of containerd's that nobody else uses. */
  readonly #namespace = `ktf-${randomBytes(6).toString("hex")}`;

  containerd(id: string, name: string): void {
    this.#write(`${CONTAINERD}/${this.#namespace}/${id}/config.json`, 0, {
      "io.kubernetes.cri.container-type": "sandbox",
      "io.kubernetes.cri.sandbox-id": id,
      "io.kubernetes.cri.sandbox-name": name,
      "io.kubernetes.cri.sandbox-namespace": "shop",
      "io.kubernetes.cri.sandbox-uid": UID,
    });
  }

  crio(id: string, name: string): void {
    this.#write(`${CRI_O}/${id}/userdata/config.json`, 1, {
      "io.kubernetes.cri-o.ContainerType": "sandbox",
      "io.kubernetes.cri-o.SandboxID": id,
      "io.kubernetes.cri-o.KubeName": name,
      "io.kubernetes.cri-o.Namespace": "shop",
      "io.kubernetes.cri-o.Labels": JSON.stringify({ "io.kubernetes.pod.uid": UID }),
    });
  }

  /** @param depth how many directories the file is below the container's own. */
  #write(path: string, depth: number, annotations: Readonly<Record<string, string>>): void {
    this.#makeDirectory(dirname(path));
    writeFileSync(path, JSON.stringify({ ociVersion: "1.1.0", annotations }), { mode: 0o600 });
    const container = depth === 0 ? dirname(path) : dirname(dirname(path));
    // As containerd has it since 1.4.11.
    chmodSync(container, 0o700);
    this.#made.push(container);
  }

  /** Makes directories that only root may list, as containerd does. */
  #makeDirectory(path: string): void {
    if (existsSync(path)) return;
    this.#makeDirectory(dirname(path));
    mkdirSync(path, { mode: 0o711 });
    this.#made.push(path);
  }

  [Symbol.dispose](): void {
    for (const path of this.#made.reverse()) {
      try {
        // Only what is the test's own, or empty.
        if (path.includes(this.#namespace) || /[0-9a-f]{64}/.test(path)) rmSync(path, { recursive: true, force: true });
        else rmdirSync(path);
      } catch {
        // Somebody else uses it by now.
      }
    }
  }
}

const randomId = (): string => randomBytes(32).toString("hex");
const podAttributes = (id: string, name: string, runtime: string) => ({
  "container.id": id,
  "container.runtime.name": runtime,
  "k8s.pod.name": name,
  "k8s.namespace.name": "shop",
  "k8s.pod.uid": UID,
});

/** A sandbox whose VMM's socket is in a directory named by its ID. */
function sandboxDirectory(sandbox: Sandbox, id: string): { readonly socketPath: string; readonly address: string } {
  mkdirSync(sandbox.path(id));
  chmodSync(sandbox.path(id), 0o777);
  const socketPath = `${sandbox.path(id)}/clh.sock`;
  return { socketPath, address: `${socketPath}_10240` };
}

test("spans of both sides, the joined root and the viewer bear the pod that the bundle names", async () => {
  using bundles = new Bundles();
  await using stub = await startStub();
  using sandbox = new Sandbox();
  const [crio, short] = [randomId(), randomId()];
  bundles.containerd(RUNTIMES_ID, "web-0");
  bundles.containerd(short, "fc-0");
  bundles.crio(crio, "crio-0");
  const guests = [RUNTIMES_ID, crio, short.slice(0, SHORT)].map((id) => sandboxDirectory(sandbox, id));
  await using forwarder = await startForwarder(
    [
      ...guests.flatMap(({ socketPath }) => ["--socket-path", socketPath]),
      ...["--otlp-endpoint", stub.url, "--jaeger-listen", "0", "--join-traces", "--view", "127.0.0.1:0"],
    ],
    { env: { OTEL_RESOURCE_ATTRIBUTES: "k8s.node.name=node-1" } },
  );
  const { bincodeStream, expected } = fixture("session-isolated");
  for (const { address } of guests) await guestLife(address, bincodeStream);
  assert.deepEqual(await postBodies(await portOf(forwarder, "--jaeger-listen"), jaegerBodies("go-session")), [202]);
  await taken(stub, expected.length + 34);
  const page = await Page.open(await viewerUrl(forwarder));
  const names = (pods: readonly { readonly pod?: string }[]) => pods.flatMap(({ pod }) => pod ?? []).sort().join();
  const list = await page.sandboxes(({ sandboxes }) => names(sandboxes) === "crio-0,fc-0,web-0");
  assert.ok(list.sandboxes.every(({ namespace }) => namespace === "shop"));
  assert.deepEqual(await forwarder.stop(), CLEAN);

  const host = { "service.name": "kata-agent", "k8s.node.name": "node-1" };
  const agent = { ...host, "kata.component": "agent" };
  const pods: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    [RUNTIMES_ID]: podAttributes(RUNTIMES_ID, "web-0", "containerd"),
    [crio]: podAttributes(crio, "crio-0", "cri-o"),
    [short.slice(0, SHORT)]: podAttributes(short, "fc-0", "containerd"),
  };
  let roots = 0;
  for (const { resource } of spansOf(stub)) {
    const { "kata.sandbox.id": id, ...attributes } = plain(decodeResource(resource));
    const pod = pods[String(id)];
    switch (attributes["kata.component"]) {
      case "agent":
        assert.deepEqual(attributes, { ...agent, ...pod });
        break;
      case "runtime":
        // The session's first spans are of no sandbox that is known.
        if (id !== undefined) assert.equal(attributes["k8s.pod.name"], "web-0");
        break;
      default:
        assert.deepEqual(attributes, { ...host, ...pod });
        roots++;
    }
  }
  assert.equal(roots, 3);
  // It may not read the bundles itself.
  assert.equal(forwarder.recordsOf("a helper process retains what is needed of root's rights").length, 1);
}, NEEDS_ROOT);

test("off leaves pods alone, and on says which sandbox has none", async () => {
  using bundles = new Bundles();
  await using stub = await startStub();
  using sandbox = new Sandbox();
  const id = randomId();
  bundles.containerd(id, "web-0");
  const guest = sandboxDirectory(sandbox, id);
  const start = (when: string) =>
    startForwarder([
      ...["--socket-path", guest.socketPath, "--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
      ...["--kubernetes-metadata", when],
    ]);
  const { bincodeStream, expected } = fixture("session-isolated");
  {
    await using forwarder = await start("off");
    await guestLife(guest.address, bincodeStream);
    await taken(stub, expected.length);
    assert.deepEqual(await forwarder.stop(), CLEAN);
  }
  for (const { resource } of spansOf(stub)) {
    assert.deepEqual(plain(decodeResource(resource)), {
      "service.name": "kata-agent",
      "kata.sandbox.id": id,
      "kata.component": "agent",
    });
  }
  stub.requests.length = 0;
  await using forwarder = await start("on");
  await guestLife(sandbox.address, bincodeStream);
  assert.equal((await forwarder.record("no pod was found for a sandbox"))["sandbox"], sandbox.id);
  await guestLife(guest.address, bincodeStream);
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const pods = spansOf(stub).map(({ resource }) => plain(decodeResource(resource))["k8s.pod.name"]);
  assert.deepEqual(pods.filter((pod) => pod === "web-0").length, expected.length);
  assert.equal(pods.length, 2 * expected.length);
}, NEEDS_ROOT);
