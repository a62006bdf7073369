import type { HostFiles } from "./host-files.ts";

/** Where both runtimes look for a configuration file of their own, the first one that exists winning. */
export const DEFAULT_PATHS = {
  go: ["/etc/kata-containers/configuration.toml", "/usr/share/defaults/kata-containers/configuration.toml"],
  rust: [
    "/etc/kata-containers/runtime-rs/configuration.toml",
    "/usr/share/defaults/kata-containers/runtime-rs/configuration.toml",
    "/opt/kata/share/defaults/kata-containers/runtime-rs/configuration.toml",
  ],
} as const;

/** The files in which container runtimes name configuration files of Kata's. */
const RUNTIME_FILES = [
  "/etc/containerd/config.toml",
  "/etc/crio/crio.conf",
  "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
  "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
];
const RUNTIME_DIRECTORIES = ["/etc/containerd/conf.d", "/etc/containerd/config.d", "/etc/crio/crio.conf.d"];
/** Where kata-deploy puts what containerd imports. */
const KATA_DEPLOY_CONTAINERD = "containerd/config.d/kata-deploy.toml";

/** Files that were found, and whether something could not be seen. */
export interface ConfigurationFiles {
  /** Those that something names, with who does. */
  readonly used: ReadonlyMap<string, string>;
  /** Those that nothing seen names. */
  readonly others: readonly string[];
  /** Files and directories that this user may not read. */
  readonly hidden: readonly string[];
}

/** Kata's installations: the distribution's, and those of kata-deploy and the release tarball (`/opt/kata…`). */
export function installations(files: HostFiles): readonly string[] {
  const names = files.names("/opt");
  const kata = names.kind === "seen" ? names.content.filter((name) => /^kata(?:-|$)/.test(name)) : [];
  return kata.map((name) => `/opt/${name}`);
}

/**
 * Finds Kata's configuration files.
 *
 * @param named files that someone else names already, with who does, such as `kata-runtime env`.
 */
export function findConfigurationFiles(files: HostFiles, named: ReadonlyMap<string, string>): ConfigurationFiles {
  const used = new Map(named);
  const hidden: string[] = [];
  const roots = installations(files);
  for (const file of runtimeFiles(files, roots, hidden)) {
    const seen = files.text(file);
    if (seen.kind === "hidden") hidden.push(file);
    if (seen.kind !== "seen") continue;
    // `ConfigPath` is containerd's name, `runtime_config_path` CRI-O's.
    for (const [, path] of seen.content.matchAll(/^\s*(?:ConfigPath|runtime_config_path)\s*=\s*"([^"\n]+)"/gm)) {
      if (path !== undefined && /kata/.test(path) && !used.has(path)) used.set(path, file);
    }
  }
  for (const paths of Object.values(DEFAULT_PATHS)) {
    const first = paths.find((path) => files.exists(path));
    if (first !== undefined && !used.has(first)) used.set(first, "a default place");
  }
  const isKnown = new Set([...used.keys()].flatMap((path) => {
    const resolved = files.resolved(path);
    return resolved.kind === "seen" ? [path, resolved.content] : [path];
  }));
  const bases = [
    "/usr/share/defaults/kata-containers",
    ...roots.map((root) => `${root}/share/defaults/kata-containers`),
  ];
  const others = bases.flatMap((base) => [base, `${base}/runtime-rs`])
    .flatMap((base) => configurationsIn(files, base, hidden))
    .filter((path) => !isKnown.has(path));
  return { used, others, hidden };
}

function runtimeFiles(files: HostFiles, roots: readonly string[], hidden: string[]): string[] {
  const fragments = RUNTIME_DIRECTORIES.flatMap((directory) => {
    const names = files.names(directory);
    if (names.kind === "hidden") hidden.push(directory);
    return names.kind === "seen" ? names.content.map((name) => `${directory}/${name}`) : [];
  });
  return [...RUNTIME_FILES, ...fragments, ...roots.map((root) => `${root}/${KATA_DEPLOY_CONTAINERD}`)];
}

/** A directory's own configurations, and those of kata-deploy's runtimes below it. */
function configurationsIn(files: HostFiles, base: string, hidden: string[]): string[] {
  const list = (directory: string): readonly string[] => {
    const names = files.names(directory);
    if (names.kind === "hidden") hidden.push(directory);
    return names.kind === "seen" ? names.content : [];
  };
  const directories = ["runtimes", "custom-runtimes"].flatMap((kind) =>
    list(`${base}/${kind}`).map((name) => `${base}/${kind}/${name}`)
  );
  return [base, ...directories].flatMap((directory) =>
    list(directory).filter((name) => /^configuration.*\.toml$/.test(name)).map((name) => `${directory}/${name}`)
  );
}
