import assert from "node:assert/strict";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { RootFiles } from "../../../src/helper/root-files.ts";
import { type BundlePlace, type PodFiles, PodFinder } from "../../../src/receivers/pods/pod-finder.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const ID = "0123456789abcdef".repeat(4);
const SHORT = ID.slice(0, 32);

/** A node with the directories of both runtimes. */
class Machine implements Disposable {
  readonly #directory = temporaryDirectory();
  readonly problems: string[] = [];
  readonly absent: string[] = [];
  /** How often a file was read. */
  reads = 0;
  now = 0;
  readonly finder: PodFinder;

  constructor(files: PodFiles = new RootFiles(undefined), patienceMs?: number) {
    const place = (name: string, runtime: BundlePlace["runtime"], hasNamespaces: boolean, config: string) => ({
      directory: this.path(name),
      runtime,
      hasNamespaces,
      config,
    });
    this.finder = new PodFinder({
      files: {
        read: (path, maxBytes) => {
          this.reads++;
          return files.read(path, maxBytes);
        },
        list: (path, prefix) => files.list(path, prefix),
      },
      onProblem: (_message, error) => this.problems.push(error.message),
      onAbsent: (sandbox) => this.absent.push(sandbox),
      places: [
        place("tasks", "containerd", true, "config.json"),
        place("overlay-containers", "cri-o", false, "userdata/config.json"),
      ],
      now: () => this.now,
      ...(patienceMs !== undefined && { patienceMs }),
    });
  }

  path(...names: string[]): string {
    return join(this.#directory.path, ...names);
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }

  containerd(id: string, name: string, namespace = "k8s.io"): void {
    const annotations = { "io.kubernetes.cri.sandbox-id": id, "io.kubernetes.cri.sandbox-name": name };
    this.write(this.path("tasks", namespace, id, "config.json"), JSON.stringify({ annotations }));
  }

  crio(id: string, name: string): void {
    const annotations = { "io.kubernetes.cri-o.SandboxID": id, "io.kubernetes.cri-o.KubeName": name };
    this.write(this.path("overlay-containers", id, "userdata", "config.json"), JSON.stringify({ annotations }));
  }

  async pod(id: string): Promise<string | undefined> {
    return (await this.finder.find(id)).get("k8s.pod.name");
  }

  [Symbol.dispose](): void {
    this.#directory[Symbol.dispose]();
  }
}

test("a sandbox's bundle is found in every namespace of containerd, and in CRI-O's directory", async () => {
  using machine = new Machine();
  machine.containerd("a", "pod-a");
  machine.containerd("b", "pod-b", "other");
  machine.crio("c", "pod-c");
  assert.deepEqual([await machine.pod("a"), await machine.pod("b"), await machine.pod("c")], [
    "pod-a",
    "pod-b",
    "pod-c",
  ]);
  assert.equal((await machine.finder.find("c")).get("container.runtime.name"), "cri-o");
  assert.deepEqual(machine.problems, []);
});

test("a sandbox is looked for once, by all who ask", async () => {
  using machine = new Machine();
  machine.containerd("a", "pod-a");
  assert.equal(machine.finder.known("a"), undefined);
  const [first, second] = await Promise.all([machine.finder.find("a"), machine.finder.find("a")]);
  assert.equal(first, second);
  const { reads } = machine;
  machine.now = 1e9;
  assert.equal(await machine.pod("a"), "pod-a");
  assert.equal(machine.finder.known("a")?.get("k8s.pod.name"), "pod-a");
  assert.equal(machine.reads, reads);
});

test("a sandbox without a bundle is looked for again later", async () => {
  using machine = new Machine();
  assert.equal(await machine.pod("a"), undefined);
  assert.deepEqual(machine.absent, ["a"]);
  machine.containerd("a", "pod-a");
  assert.equal(await machine.pod("a"), undefined);
  machine.now = 60_000;
  assert.equal(await machine.pod("a"), "pod-a");
  // Neither directory being there is not a problem.
  assert.deepEqual(machine.problems, []);
});

test("of two bundles that differ neither counts, and of two that agree both do", async () => {
  using machine = new Machine();
  machine.containerd("a", "pod-a");
  machine.containerd("a", "pod-b", "other");
  assert.equal(await machine.pod("a"), undefined);
  machine.containerd("b", "pod-b");
  machine.containerd("b", "pod-b", "other");
  assert.equal(await machine.pod("b"), "pod-b");
});

test("Firecracker's half of an ID is completed if only one sandbox begins so", async () => {
  using machine = new Machine();
  machine.containerd(ID, "pod-a");
  machine.containerd(`f${ID.slice(1)}`, "pod-b");
  assert.equal(await machine.pod(SHORT), "pod-a");
  assert.equal((await machine.finder.find(SHORT)).get("container.id"), ID);

  using twice = new Machine();
  twice.containerd(ID, "pod-a");
  twice.containerd(`${SHORT}${"f".repeat(32)}`, "pod-b");
  assert.equal(await twice.pod(SHORT), undefined);
  // No other ID is completed.
  assert.equal(await twice.pod(ID.slice(0, 31)), undefined);
});

test("an ID that could lead elsewhere is not looked for", async () => {
  using machine = new Machine();
  machine.write(machine.path("tasks", "config.json"), "{}");
  machine.write(machine.path("tasks", "k8s.io", "config.json"), "{}");
  for (const id of ["", ".", "..", "../k8s.io", "a/b", "a\0", "-a", "a".repeat(256)]) {
    assert.deepEqual([...await machine.finder.find(id)], []);
  }
  assert.equal(machine.reads, 0);
});

test("a bundle that is too large, not a file, or not readable costs only itself", async () => {
  using machine = new Machine();
  const config = (id: string): string => machine.path("tasks", "k8s.io", id, "config.json");
  machine.write(config("large"), " ".repeat(1024 * 1024 + 1));
  mkdirSync(config("directory"), { recursive: true });
  machine.write(config("broken"), "{");
  machine.containerd("good", "pod");
  for (const id of ["large", "directory", "broken"]) assert.equal(await machine.pod(id), undefined);
  assert.equal(machine.problems.length, 2);
  assert.equal(await machine.pod("good"), "pod");
  rmSync(dirname(config("good")), { recursive: true });
  symlinkSync("/nowhere", dirname(config("good")));
  assert.equal(await machine.pod("good"), "pod", "it is remembered");
});

test("nobody waits for long, and namespaces that cannot be listed are guessed", async () => {
  using machine = new Machine({ read: () => new Promise(() => {}), list: () => Promise.resolve(["k8s.io"]) }, 10);
  assert.equal(await machine.pod("a"), undefined);

  const forbidden = Object.assign(new Error("forbidden"), { code: "EACCES" });
  const files = new RootFiles(undefined);
  using hidden = new Machine({ read: (path, most) => files.read(path, most), list: () => Promise.reject(forbidden) });
  hidden.containerd("a", "pod-a");
  assert.equal(await hidden.pod("a"), "pod-a");
  assert.deepEqual(hidden.problems, []);
});
