import { isLoopbackUrl } from "./addresses.ts";
import { type AreaFinding, note, ok, problem, unknown, warning } from "./finding.ts";
import type { HostFiles } from "./host-files.ts";
import { type KataConfiguration, readConfiguration } from "./kata-configuration.ts";
import { findConfigurationFiles, installations } from "./kata-files.ts";
import type { KataRuntimeEnvironment } from "./kata-runtime.ts";

/** Where the runtimes send their spans if nobody says otherwise. */
export const DEFAULT_JAEGER_ENDPOINT = "http://localhost:14268/api/traces";
/** How many files that nothing names are listed. */
const MOST_OTHERS = 3;

/** What is known of where runtimes can send their spans. */
export interface JaegerReceiver {
  /** The port at which the forwarder would take them, by its settings; undefined: it would take none. */
  readonly port: number | undefined;
}

/** What is said of Kata's configuration, and the hypervisors that it names. */
export interface KataFindings {
  readonly findings: readonly AreaFinding[];
  readonly hypervisors: ReadonlySet<string>;
}

/**
 * Kata's configuration files: both switches of tracing, the hypervisor, and where the runtime's spans go.
 *
 * @param runtime what `kata-runtime env` says; undefined if there is no such program.
 */
export function checkKata(
  files: HostFiles,
  runtime: KataRuntimeEnvironment | undefined,
  receiver: JaegerReceiver,
  kataConfFile?: string,
): KataFindings {
  const named = new Map<string, string>();
  const findings: AreaFinding[] = [];
  const hypervisors = new Set<string>();
  if (kataConfFile !== undefined) named.set(kataConfFile, "KATA_CONF_FILE");
  if (runtime?.kind === "seen") {
    findings.push(ok("kata-runtime env", runtime.summary));
    if (runtime.configurationPath !== undefined) named.set(runtime.configurationPath, "kata-runtime env");
  } else if (runtime !== undefined) findings.push(unknown("kata-runtime env", runtime.reason));
  const { used, others, hidden } = findConfigurationFiles(files, named);
  for (const path of hidden) findings.push(unknown(path, "permission denied", "run check as root"));
  const done = new Set<string>();
  const add = (path: string, who: string): void => {
    const configuration = readConfiguration(files, path);
    if (done.has(configuration.path)) return;
    done.add(configuration.path);
    if ("problem" in configuration) return void findings.push(unreadable(configuration, who));
    if (configuration.hypervisor !== undefined) hypervisors.add(configuration.hypervisor);
    findings.push(...configurationFindings(configuration, who, receiver));
  };
  for (const [path, who] of used) add(path, who);
  if (used.size === 0 && others.length <= MOST_OTHERS) {
    for (const path of others) add(path, "nobody that was seen");
  } else if (others.length > 0) {
    findings.push(note("other configurations", `${others.length} that nothing names, such as ${others[0]}`));
  }
  if (done.size === 0 && others.length === 0 && hidden.length === 0) {
    findings.push(problem(
      "Kata Containers",
      installations(files).length > 0
        ? `${installations(files).join(", ")} without a configuration file`
        : "not found: there is no configuration file in /etc, /usr/share/defaults or /opt/kata",
      "install Kata Containers, or run check on a node that has it",
    ));
  }
  return { findings, hypervisors };
}

function unreadable(
  { path, problem: why, isHidden }: { path: string; problem: string; isHidden: boolean },
  who: string,
): AreaFinding {
  if (isHidden) return unknown(path, why, "run check as root");
  return problem(path, `${why} (named by ${who})`, "mend it: Kata's runtime fails on it too");
}

function configurationFindings(
  configuration: KataConfiguration,
  who: string,
  receiver: JaegerReceiver,
): AreaFinding[] {
  const { path, fragments, runtime, hypervisor, tracesAgent, tracesRuntime } = configuration;
  const withDropIns = fragments.length === 0 ? "" : `, ${fragments.length} drop-in${fragments.length > 1 ? "s" : ""}`;
  const findings = [
    ok(path, `${runtime === "go" ? "Go" : "Rust"} runtime, ${hypervisor ?? "no hypervisor"}, by ${who}${withDropIns}`),
    tracesAgent
      ? ok("  [agent.kata] enable_tracing", "true: new sandboxes' agents trace")
      : problem("  [agent.kata] enable_tracing", "false: agents do not trace", `set it to true in ${dropInFor(path)}`),
    tracesRuntime ? ok("  [runtime] enable_tracing", "true: the runtime traces") : warning(
      "  [runtime] enable_tracing",
      "false: each of the agent's RPCs is a trace of its own",
      `set it to true in ${dropInFor(path)}`,
    ),
  ];
  if (tracesRuntime) findings.push(jaegerFinding(configuration, receiver));
  return findings;
}

/** A drop-in survives an update of Kata, which replaces the file itself. */
function dropInFor(path: string): string {
  return `${path.slice(0, path.lastIndexOf("/"))}/config.d/50-tracing.toml`;
}

function jaegerFinding({ jaegerEndpoint }: KataConfiguration, { port }: JaegerReceiver): AreaFinding {
  const item = "  [runtime] jaeger_endpoint";
  const endpoint = jaegerEndpoint ?? DEFAULT_JAEGER_ENDPOINT;
  const shown = jaegerEndpoint === undefined ? `${endpoint} (the default)` : endpoint;
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    return problem(item, `${endpoint} is not a URL`, `use ${DEFAULT_JAEGER_ENDPOINT}`);
  }
  const endpointPort = Number(url.port || (url.protocol === "https:" ? 443 : 80));
  if (!isLoopbackUrl(url)) {
    return warning(item, `${shown}: another machine`, `use ${DEFAULT_JAEGER_ENDPOINT} and --jaeger-listen 14268`);
  }
  if (port === undefined) {
    return warning(
      item,
      `${shown}: not to this forwarder`,
      `give it --jaeger-listen ${endpointPort}, or --all-sources, so that agents' spans get their parents`,
    );
  }
  if (endpointPort !== port) {
    return warning(item, `${shown}, but --jaeger-listen is ${port}`, `use the same port for both`);
  }
  return ok(item, `${shown}: leads to this forwarder`);
}
