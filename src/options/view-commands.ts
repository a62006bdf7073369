import type { Command as Program } from "commander";
import type { Settings } from "../pipeline/settings.ts";
import { otlpSettings } from "./endpoint.ts";
import type { Option } from "./option.ts";
import type { Flags, Resolved } from "./resolve.ts";
import { settingsFrom, viewerSettings } from "./settings.ts";
import { COMMANDS } from "./table.ts";
import { quoted, UsageError } from "./values.ts";
import type { REPLAY_FORMATS } from "./view-table.ts";

/** How much slower something may be before `compare` fails: 0.05 for 5 %. */
export interface FailCondition {
  readonly percentile: "p50" | "p95" | "p99";
  readonly change: number;
}

/** A Jaeger query service to read, and how far back. */
export interface JaegerSource {
  readonly url: string;
  readonly sinceMs: number;
  /** The services whose spans are read; undefined: those that are recognised as Kata's. */
  readonly services: readonly string[] | undefined;
}

/** What a command that shows, compares or sends recorded spans is asked for. Paths are absolute. */
export type ViewCommand =
  | {
    readonly kind: "view";
    readonly files: readonly string[];
    readonly from: JaegerSource | undefined;
    readonly labelBy: string;
    readonly terminal: boolean;
    readonly sandbox: string | undefined;
    /** With neither files nor a URL the forwarder itself runs, with its viewer. */
    readonly settings: Settings;
  }
  | {
    readonly kind: "compare";
    readonly a: string;
    readonly b: string;
    readonly store: string | undefined;
    readonly from: JaegerSource | undefined;
    readonly labelBy: string;
    readonly json: boolean;
    readonly failIf: FailCondition | undefined;
  }
  | {
    readonly kind: "export";
    readonly files: readonly string[];
    readonly store: string | undefined;
    readonly sandbox: string | undefined;
    readonly slowest: number | undefined;
    readonly html: string | undefined;
    readonly otlp: string | undefined;
    readonly perfetto: string | undefined;
    readonly withSecrets: boolean;
  }
  | {
    readonly kind: "replay";
    readonly file: string;
    readonly otlp: Settings["otlp"];
    readonly socket: string | undefined;
    readonly frames: (typeof REPLAY_FORMATS)[number];
  };

/** What the command line gives to describe these commands with. */
export interface CommandLine {
  /** A subcommand with its options. */
  describe(name: ViewCommand["kind"]): Program;
  resolve<Table extends Readonly<Record<string, Option>>>(table: Table, flags: Flags): Resolved<Table>;
  /** Refuses the forwarder's flags before a subcommand. */
  refuseFlags(name: string): void;
  choose(command: ViewCommand): void;
  /** Whether a person reads what is printed. */
  readonly isTerminal: boolean;
}

/** Adds the commands that show, compare, export and send recorded spans. */
export function addViewCommands(_program: Program, line: CommandLine): void {
  line.describe("view").argument("[FILE...]", "what to show; default: what comes in").action(
    (files: string[], flags: Flags) => {
      line.refuseFlags("view");
      const options = line.resolve(COMMANDS.view.options, flags);
      if (options.from !== undefined && files.length > 0) {
        throw new UsageError("--from and files exclude each other: give one");
      }
      line.choose({
        kind: "view",
        files,
        from: jaegerSource(options),
        labelBy: options.labelBy.value,
        terminal: options.terminal?.value === true,
        sandbox: options.sandbox?.value,
        settings: liveSettings(options, line.isTerminal),
      });
    },
  );

  line.describe("compare").argument("<A>", "a file, or a label").argument("<B>", "the new one").action(
    (a: string, b: string, flags: Flags) => {
      line.refuseFlags("compare");
      const options = line.resolve(COMMANDS.compare.options, flags);
      const { store, from, labelBy, json, failIf } = options;
      if (from !== undefined && store !== undefined) {
        throw new UsageError("--from and --store exclude each other: give one");
      }
      line.choose({
        kind: "compare",
        a,
        b,
        store: store?.value,
        from: jaegerSource(options),
        labelBy: labelBy.value,
        json: json?.value === true,
        failIf: failIf && failCondition(failIf.value),
      });
    },
  );

  line.describe("export").argument("[FILE...]", "where the spans are; default: --store").action(
    (files: string[], flags: Flags) => {
      line.refuseFlags("export");
      const options = line.resolve(COMMANDS.export.options, flags);
      const { html, otlp, perfetto, sandbox, slowest } = options;
      if (html === undefined && otlp === undefined && perfetto === undefined) {
        throw new UsageError("export: nothing to write: give --html FILE, --otlp FILE or --perfetto FILE");
      }
      if (sandbox !== undefined && slowest !== undefined) {
        throw new UsageError("--sandbox and --slowest exclude each other: give one");
      }
      line.choose({
        kind: "export",
        files,
        store: options.store?.value,
        sandbox: sandbox?.value,
        slowest: slowest?.value,
        html: html?.value,
        otlp: otlp?.value,
        perfetto: perfetto?.value,
        withSecrets: options.all?.value === true,
      });
    },
  );

  line.describe("replay").argument("<FILE>", "where the spans are").action((file: string, flags: Flags) => {
    line.refuseFlags("replay");
    const options = line.resolve(COMMANDS.replay.options, flags);
    line.choose({
      kind: "replay",
      file,
      otlp: otlpSettings(options.otlpEndpoint, options.otlpProtocol, options.otlpInsecure),
      socket: options.socket?.value,
      frames: options.frames.value,
    });
  });
}

/**
 * `view` listens to everything unless it is told where, and forwards only if it is told to. On a terminal its log is
 * for people, and has warnings alone, unless it is told otherwise.
 */
function liveSettings(options: Resolved<typeof COMMANDS.view.options>, isTerminal: boolean): Settings {
  const { socketPath, vsockCid, jaegerListen, otlpListen, otlpEndpoint, dumpOnly } = options;
  if (dumpOnly?.value === true) throw new UsageError("--dump-only has no meaning for view: leave it out");
  const isToldWhere = vsockCid.source !== "default" ||
    [socketPath, jaegerListen, otlpListen].some((given) => given !== undefined);
  const all = { value: true, source: "default", name: "view" } as const;
  const settings = settingsFrom({ ...options, ...(!isToldWhere && { allSources: all }) });
  return {
    ...settings,
    viewer: settings.viewer ?? viewerSettings(options),
    ...(isTerminal && { log: terminalLog(options) }),
    ...(otlpEndpoint === undefined && { forwards: false }),
  };
}

function terminalLog({ logLevel, logFormat }: Resolved<typeof COMMANDS.view.options>): Settings["log"] {
  return {
    level: logLevel.source === "default" ? "warn" : logLevel.value,
    format: logFormat.source === "default" ? "text" : logFormat.value,
  };
}

function jaegerSource(
  { from, since, service }: Pick<Resolved<typeof COMMANDS.view.options>, "from" | "since" | "service">,
): JaegerSource | undefined {
  if (from !== undefined) return { url: from.value, sinceMs: since.value, services: service?.value };
  if (service !== undefined) throw new UsageError("--service needs --from: it chooses what is read of a Jaeger");
  return undefined;
}

/** Reads `--fail-if`, such as `p50>+5%`. */
function failCondition(text: string): FailCondition {
  const [, percentile, percent] = /^(p50|p95|p99)\s*>\s*\+?(\d+(?:\.\d+)?)\s*%$/.exec(text.trim()) ?? [];
  if (percentile === undefined) {
    throw new UsageError(
      `--fail-if: invalid condition ${quoted(text)}: give p50, p95 or p99 and a percentage, as in p50>+5%`,
    );
  }
  return { percentile: percentile as FailCondition["percentile"], change: Number(percent) / 100 };
}
