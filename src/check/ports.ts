import type { Settings } from "../pipeline/settings.ts";
import { portOwner } from "../receivers/peers/port-owner.ts";
import { listeningInode } from "../receivers/peers/socket-table.ts";
import { isLoopbackUrl } from "./addresses.ts";
import { type AreaFinding, note, ok, problem, unknown, warning } from "./finding.ts";
import type { HostFiles } from "./host-files.ts";

/** The ports that Kata's runtimes and OTLP's clients use unless they are told otherwise, and what each is for. */
const USUAL_PORTS = [
  { port: 14268, purpose: "runtimes' spans (jaeger_endpoint)" },
  { port: 4317, purpose: "OTLP/gRPC" },
  { port: 4318, purpose: "OTLP/HTTP" },
] as const;

/** The name that the kernel has for a forwarder: 15 characters of it. */
const FORWARDER = "kata-trace-forwarder".slice(0, 15);

/** A port that the settings want to listen at. */
interface Wanted {
  readonly option: string;
  /** Without it, the start fails. */
  readonly isRequired: boolean;
}

/** Who has the TCP ports that are usual for traces, and those that the settings name. */
export function checkPorts(settings: Settings, files: HostFiles): AreaFinding[] {
  const wanted = wantedPorts(settings);
  const purposes = new Map<number, string>(USUAL_PORTS.map(({ port, purpose }) => [port, purpose]));
  for (const [port, { option }] of wanted) if (!purposes.has(port)) purposes.set(port, option);
  return [...purposes].map(([port, purpose]) => describe(port, purpose, wanted.get(port), settings, files));
}

function wantedPorts({ jaeger, otlpListen, metrics, viewer }: Settings): ReadonlyMap<number, Wanted> {
  const wanted = new Map<number, Wanted>();
  const add = (option: string, listen: { readonly port: number; readonly optional?: true } | undefined): void => {
    if (listen === undefined || listen.port === 0) return;
    wanted.set(listen.port, { option, isRequired: listen.optional !== true });
  };
  add("--jaeger-listen", jaeger?.listen);
  for (const listen of otlpListen) add("--otlp-listen", listen);
  add("--metrics", metrics);
  add("--view", viewer?.address);
  return wanted;
}

function describe(
  port: number,
  purpose: string,
  wanted: Wanted | undefined,
  { otlp, dumpOnly }: Settings,
  files: HostFiles,
): AreaFinding {
  const item = `tcp ${port}`;
  const tables = ["/proc/net/tcp", "/proc/net/tcp6"].map((table) => files.text(table));
  if (tables.every(({ kind }) => kind !== "seen")) return unknown(item, "/proc/net/tcp cannot be read");
  const isTaken = tables.some((table) => table.kind === "seen" && listeningInode(table.content, port) !== undefined);
  if (!isTaken) {
    return wanted === undefined ? note(item, `free: ${purpose}`) : ok(item, `free for ${wanted.option}: ${purpose}`);
  }
  const owner = portOwner(port, files.path("/proc"));
  const who = owner === undefined
    ? "a process that this user may not look into"
    : `${owner.name} (process ${owner.pid})`;
  const found = `taken by ${who}: ${purpose}`;
  if (owner?.name === FORWARDER) return ok(item, found);
  if (!dumpOnly && isCollector(otlp.url, port)) return note(item, `${found}; spans are sent there`);
  if (wanted === undefined) return note(item, found);
  if (owner === undefined) return unknown(item, found, "run check as root");
  const advice = `stop it, or give ${wanted.option} another port`;
  return wanted.isRequired ? problem(item, found, advice) : warning(item, found, advice);
}

function isCollector(url: string, port: number): boolean {
  if (!URL.canParse(url)) return false;
  const parsed = new URL(url);
  return parsed.port === String(port) && isLoopbackUrl(parsed);
}
