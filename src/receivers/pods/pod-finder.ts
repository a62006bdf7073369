import { forgetOldest } from "../../base/forget-oldest.ts";
import { errnoName } from "../../../ffi/errors.ts";
import type { SandboxLookup } from "../../pipeline/sandbox-lookup.ts";
import { type ContainerRuntime, podOfBundle } from "./bundle.ts";

/** Attributes of a sandbox's pod by OpenTelemetry's names; empty if nothing is known. */
type PodAttributes = ReadonlyMap<string, string>;

const NO_POD: PodAttributes = new Map();

/** Reads files that only root may read. */
export interface PodFiles {
  /** Rejects with what open(2) reports, and if the file is longer than `maxBytes`. */
  read(path: string, maxBytes: number): Promise<Uint8Array>;
  /** The first names in a directory that begin with a prefix. Rejects with what open(2) reports. */
  list(path: string, prefix: string): Promise<readonly string[]>;
}

/** A directory that container runtimes have their bundles in. */
export interface BundlePlace {
  readonly runtime: ContainerRuntime;
  readonly directory: string;
  /** Containerd has a directory for each of its namespaces. */
  readonly hasNamespaces: boolean;
  /** Where `config.json` is below a container's own directory. */
  readonly config: string;
}

const containerd = (state: string): BundlePlace => ({
  runtime: "containerd",
  directory: `${state}/io.containerd.runtime.v2.task`,
  hasNamespaces: true,
  config: "config.json",
});
const crio = (storage: string): BundlePlace => ({
  runtime: "cri-o",
  directory: `${storage}/overlay-containers`,
  hasNamespaces: false,
  config: "userdata/config.json",
});

/** Where containerd (also that of k3s, RKE2 and k0s) and CRI-O have their bundles by default. */
export const BUNDLE_PLACES: readonly BundlePlace[] = [
  containerd("/run/containerd"),
  containerd("/run/k3s/containerd"),
  containerd("/run/k0s/containerd"),
  crio("/run/containers/storage"),
  crio("/var/lib/containers/storage"),
];

/** The file's name in all of them. */
export const BUNDLE_FILE = "config.json";

/** Containerd's namespaces if they cannot be listed: that of Kubernetes, and that of `ctr` and `nerdctl`. */
const USUAL_NAMESPACES = ["k8s.io", "default"];

/** Valid names of sandboxes: `VerifyContainerID` in Kata's src/runtime/pkg/katautils; the length is a name's. */
const SANDBOX_ID = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/;
/** Firecracker's IDs are the first half of the sandbox's. */
const SHORT_ID = /^[0-9a-f]{32}$/;
const FULL_ID = /^[0-9a-f]{64}$/;

/** Real ones have some ten kB, and with very many mounts or environment variables some hundred. */
const MAX_CONFIG_BYTES = 1024 * 1024;
/** How long a sandbox's first spans wait for its pod, milliseconds. */
const PATIENCE_MS = 1_000;
/** How soon a sandbox without a bundle is looked for again, milliseconds. */
const ABSENT_MS = 30_000;
/** Sandboxes that are remembered. */
const MAX_REMEMBERED = 8_192;
/** What the file system says if something is not there. */
const ABSENT = new Set(["ENOENT", "ENOTDIR"]);

const UTF8 = new TextDecoder();

interface Remembered {
  readonly pod: PodAttributes;
  /** Monotonic milliseconds. */
  readonly until: number;
}

/** What a finder needs; the defaults are the real ones. */
export interface PodFinderOptions {
  readonly files: PodFiles;
  /** Called if bundles are there, but cannot be read. */
  readonly onProblem: (message: string, error: Error) => void;
  /** Called if a sandbox has no bundle. */
  readonly onAbsent?: (sandbox: string) => void;
  readonly places?: readonly BundlePlace[];
  readonly patienceMs?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/**
 * Finds the pod of a sandbox in the annotations of its OCI bundle, which the container runtime writes before it starts
 * the sandbox. Absent rather than wrong: of two bundles that differ, neither counts.
 */
export class PodFinder implements SandboxLookup {
  readonly #options: PodFinderOptions;
  readonly #places: readonly BundlePlace[];
  readonly #now: () => number;
  readonly #remembered = new Map<string, Remembered>();
  readonly #searches = new Map<string, Promise<PodAttributes>>();

  constructor(options: PodFinderOptions) {
    this.#options = options;
    this.#places = options.places ?? BUNDLE_PLACES;
    this.#now = options.now ?? (() => performance.now());
  }

  /** What is known of a sandbox's pod without looking; undefined if it has to be looked for. */
  known(sandbox: string): PodAttributes | undefined {
    if (!SANDBOX_ID.test(sandbox)) return NO_POD;
    const remembered = this.#remembered.get(sandbox);
    if (remembered === undefined || remembered.until > this.#now()) return remembered?.pod;
    this.#remembered.delete(sandbox);
    return undefined;
  }

  /** The pod of a sandbox, looked for once for all who ask. Never rejects, and takes a second at most. */
  find(sandbox: string): Promise<PodAttributes> {
    const known = this.known(sandbox);
    if (known !== undefined) return Promise.resolve(known);
    let search = this.#searches.get(sandbox);
    if (search === undefined) {
      search = this.#searchInTime(sandbox).finally(() => this.#searches.delete(sandbox));
      this.#searches.set(sandbox, search);
    }
    return search;
  }

  async #searchInTime(sandbox: string): Promise<PodAttributes> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const patience = new Promise<PodAttributes>((resolve) => {
      timer = setTimeout(() => resolve(NO_POD), this.#options.patienceMs ?? PATIENCE_MS);
    });
    const search = this.#search(sandbox);
    try {
      const pod = await Promise.race([search, patience]);
      this.#remember(sandbox, pod);
      return pod;
    } finally {
      clearTimeout(timer);
    }
  }

  #remember(sandbox: string, pod: PodAttributes): void {
    const until = pod.size > 0 ? Infinity : this.#now() + ABSENT_MS;
    if (pod.size === 0) this.#options.onAbsent?.(sandbox);
    this.#remembered.set(sandbox, { pod, until });
    forgetOldest(this.#remembered, MAX_REMEMBERED);
  }

  async #search(sandbox: string): Promise<PodAttributes> {
    const found: PodAttributes[] = [];
    const directories = (await Promise.all(this.#places.map((place) => this.#directoriesOf(place)))).flat();
    for (const each of directories) {
      const pod = await this.#read(each, sandbox);
      if (pod !== undefined) found.push(pod);
    }
    if (found.length === 0 && SHORT_ID.test(sandbox)) {
      const names = await Promise.all(directories.map(({ directory }) => this.#list(directory, sandbox)));
      const ids = new Set(names.flat().filter((name) => FULL_ID.test(name)));
      const [id, ...others] = ids;
      return id === undefined || others.length > 0 ? NO_POD : await this.#search(id);
    }
    const [first, ...others] = found;
    return first !== undefined && others.every((other) => areEqual(first, other)) ? first : NO_POD;
  }

  /** The directories that have one for each container. */
  async #directoriesOf(place: BundlePlace): Promise<Omit<BundlePlace, "hasNamespaces">[]> {
    if (!place.hasNamespaces) return [place];
    const names = await this.#list(place.directory, "", USUAL_NAMESPACES);
    const namespaces = names.filter((name) => SANDBOX_ID.test(name));
    return namespaces.map((namespace) => ({ ...place, directory: `${place.directory}/${namespace}` }));
  }

  async #read(
    { directory, config, runtime }: Omit<BundlePlace, "hasNamespaces">,
    sandbox: string,
  ): Promise<PodAttributes | undefined> {
    try {
      const bytes = await this.#options.files.read(`${directory}/${sandbox}/${config}`, MAX_CONFIG_BYTES);
      return podOfBundle(UTF8.decode(bytes), sandbox, runtime);
    } catch (error) {
      this.#reportUnlessAbsent(error);
      return undefined;
    }
  }

  /** @param unlisted what stands for the names of a directory that this process may not list. */
  async #list(directory: string, prefix: string, unlisted: readonly string[] = []): Promise<readonly string[]> {
    try {
      return await this.#options.files.list(directory, prefix);
    } catch (error) {
      if (errnoName(error) === "EACCES" && unlisted.length > 0) return unlisted;
      this.#reportUnlessAbsent(error);
      return [];
    }
  }

  /** One place that cannot be read does not keep another from being read. */
  #reportUnlessAbsent(error: unknown): void {
    if (ABSENT.has(errnoName(error) ?? "")) return;
    this.#options.onProblem("a sandbox's OCI bundle cannot be read, so its pod is unknown", error as Error);
  }
}

function areEqual(one: PodAttributes, other: PodAttributes): boolean {
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value);
}
