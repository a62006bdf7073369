import { dirname } from "node:path";
import { parse } from "smol-toml";
import { describeError, printable } from "../base/log.ts";
import type { HostFiles } from "./host-files.ts";

/** The settings of Kata that say whether traces come, and where they go. */
export interface KataConfiguration {
  /** Where it is, links followed. */
  readonly path: string;
  /** The fragments in `config.d` beside it that were read too, in their order. */
  readonly fragments: readonly string[];
  readonly runtime: "go" | "rust";
  /** `[hypervisor.NAME]`: the one that the runtime would use. */
  readonly hypervisor: string | undefined;
  /** `[agent.kata] enable_tracing` */
  readonly tracesAgent: boolean;
  /** `[runtime] enable_tracing` */
  readonly tracesRuntime: boolean;
  /** `[runtime] jaeger_endpoint`; absent: the runtime's default. */
  readonly jaegerEndpoint: string | undefined;
}

/** Why a configuration could not be read. */
export interface Unreadable {
  readonly path: string;
  readonly problem: string;
  /** Whether this user may not read it, as opposed to a file that is broken or missing. */
  readonly isHidden: boolean;
}

/** Larger files are not configurations, bytes. */
const LARGEST_FILE = 1024 * 1024;

type Table = Readonly<Record<string, unknown>>;

/**
 * Reads a configuration and its drop-ins. As in Kata's runtimes, links are followed first, and each file in `config.d`
 * beside the file overrides what was read before it.
 */
export function readConfiguration(files: HostFiles, given: string): KataConfiguration | Unreadable {
  const resolved = files.resolved(given);
  if (resolved.kind === "absent") return { path: given, problem: "there is no such file", isHidden: false };
  if (resolved.kind === "hidden") return { path: given, problem: resolved.reason, isHidden: true };
  const path = resolved.content;
  const directory = `${dirname(path)}/config.d`;
  const names = files.names(directory);
  if (names.kind === "hidden") return { path: directory, problem: names.reason, isHidden: true };
  const fragments = names.kind === "seen" ? names.content.map((name) => `${directory}/${name}`) : [];
  let merged: Table = {};
  for (const file of [path, ...fragments]) {
    const table = readTable(files, file);
    if ("problem" in table) return table;
    merged = merge(merged, table.table);
  }
  return describe(path, fragments, merged);
}

function readTable(files: HostFiles, path: string): { readonly table: Table } | Unreadable {
  const seen = files.text(path);
  if (seen.kind === "absent") return { path, problem: "there is no such file", isHidden: false };
  if (seen.kind === "hidden") return { path, problem: seen.reason, isHidden: true };
  if (seen.content.length > LARGEST_FILE) return { path, problem: "it is larger than 1 MiB", isHidden: false };
  try {
    return { table: parse(seen.content) };
  } catch (error) {
    const [line = ""] = describeError(error).split("\n");
    return { path, problem: `it is not TOML: ${printable(line)}`, isHidden: false };
  }
}

/** Tables are merged; anything else replaces what was there. */
function merge(under: Table, over: Table): Table {
  const merged: Record<string, unknown> = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const before = merged[key];
    merged[key] = isTable(before) && isTable(value) ? merge(before, value) : value;
  }
  return merged;
}

function describe(path: string, fragments: readonly string[], root: Table): KataConfiguration {
  const runtime = table(root["runtime"]);
  const hypervisors = Object.keys(table(root["hypervisor"]));
  const chosen = runtime["hypervisor_name"];
  const endpoint = runtime["jaeger_endpoint"];
  return {
    path,
    fragments,
    // `hypervisor_name` and `agent_name` are the Rust runtime's alone.
    runtime: typeof chosen === "string" || /runtime-rs/.test(path) ? "rust" : "go",
    hypervisor: typeof chosen === "string" ? chosen : hypervisors[0],
    tracesAgent: table(table(root["agent"])["kata"])["enable_tracing"] === true,
    tracesRuntime: runtime["enable_tracing"] === true,
    jaegerEndpoint: typeof endpoint === "string" && endpoint !== "" ? endpoint : undefined,
  };
}

function table(value: unknown): Table {
  return isTable(value) ? value : {};
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
