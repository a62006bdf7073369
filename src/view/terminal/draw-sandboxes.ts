import process from "node:process";
import { printable } from "../../base/log.ts";
import { StoreReader } from "../../store/store-reader.ts";
import type { TraceStore } from "../../store/trace-store.ts";
import { formatDuration } from "../format.ts";
import { computeSandbox, summaryView } from "../sandbox-view.ts";
import { waterfall, type WaterfallStyle } from "./waterfall.ts";

/** Columns where standard output is not a terminal. */
const DEFAULT_WIDTH = 100;
const SMALLEST_WIDTH = 40;

/**
 * Draws sandboxes as waterfalls, each with all its traces as one tree; the youngest comes last, where a terminal shows
 * it. Text from guests is made harmless.
 *
 * @param prefix only sandboxes whose ID begins with it. @param width columns; undefined: where there is no terminal.
 */
export function drawSandboxes(store: TraceStore, prefix = "", width = DEFAULT_WIDTH): string {
  const reader = new StoreReader(store);
  const found = reader.sandboxes().filter(({ sid }) => sid.startsWith(prefix)).reverse();
  if (found.length === 0) return prefix === "" ? "no spans\n" : `no sandbox begins with "${printable(prefix)}"\n`;
  const style: WaterfallStyle = {
    width: Math.max(SMALLEST_WIDTH, width),
    colour: process.stdout.isTTY && !process.env["NO_COLOR"],
    unicode: /utf-?8/i.test(process.env["LC_ALL"] || process.env["LC_CTYPE"] || process.env["LANG"] || ""),
  };
  return found.map((stored) => {
    const computed = computeSandbox(reader, stored);
    const { state, start, phases, traces } = summaryView(stored, computed.summary);
    const { spans, table, starts } = computed;
    const drawn = [...table.input].map((input, row) => {
      const span = spans[input] as (typeof spans)[number];
      const begin = table.baseNs + BigInt(Math.round(starts[row] as number));
      return {
        traceId: stored.sid,
        spanId: `${row}`,
        parentSpanId: (table.parent[row] as number) < 0 ? "" : String(table.parent[row]),
        name: span.name,
        start: begin,
        end: begin + span.endNs - span.startNs,
        ...(span.error && { error: "" }),
      };
    });
    const head = [
      `sandbox ${printable(stored.sid)}  ${state}  ${traces} traces`,
      start === undefined ? "its start was not traced" : `${formatDuration(start)} to start`,
      ...phases.map(({ name, from, to }) => `${name} ${formatDuration(to - from)}`),
    ].join("  ");
    const lines = waterfall(drawn, style).slice(1);
    return `${head}\n${lines.join("\n")}\n`;
  }).join("\n");
}
