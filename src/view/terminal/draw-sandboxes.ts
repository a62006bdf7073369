import { printable } from "../../base/log.ts";
import { StoreReader } from "../../store/store-reader.ts";
import type { TraceStore } from "../../store/trace-store.ts";
import type * as api from "../api.ts";
import { computeSandbox, summaryView } from "../sandbox-view.ts";
import { terminalStyle } from "./terminal-style.ts";
import { cut, duration } from "./terminal-text.ts";
import { waterfall } from "./waterfall.ts";

/**
 * Draws sandboxes as waterfalls, each with all its traces as one tree; the youngest comes last, where a terminal shows
 * it. Text from guests is made harmless.
 *
 * @param prefix only sandboxes whose ID begins with it. @param width columns; undefined: the terminal's.
 */
export function drawSandboxes(store: TraceStore, prefix = "", width?: number): string {
  const reader = new StoreReader(store);
  const found = reader.sandboxes().filter(({ sid }) => sid.startsWith(prefix)).reverse();
  if (found.length === 0) return prefix === "" ? "no spans\n" : `no sandbox begins with "${printable(prefix)}"\n`;
  const style = terminalStyle(width);
  const lasting = (ns: number) => duration(BigInt(Math.round(ns)), style.unicode ? "µ" : "u");
  return found.map((stored) => {
    const computed = computeSandbox(reader, stored);
    const view = summaryView(stored, computed.summary);
    const { start, phases } = view;
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
    const steps = phases.map(({ name, from, to }) => `${name} ${lasting(to - from)}`);
    const head = [
      `sandbox ${printable(stored.sid)}`,
      aboutOf(view),
      start === undefined ? "its start was not traced" : `${lasting(start)} to start: ${steps.join(", ")}`,
    ];
    const lines = waterfall(drawn, style).slice(1);
    return [...head.map((line) => cut(line, style.width, style.unicode ? "…" : "~")), ...lines, ""].join("\n");
  }).join("\n");
}

const STATES: Readonly<Record<api.SandboxState, string>> = {
  running: "running",
  ended: "ended",
  "no-root": "ended without a root",
};

/** What there is to say of a sandbox beside its start, such as `ended, 42 spans in 1 trace, pod default/web`. */
function aboutOf({ state, spans, spansNotKept, traces, errors, namespace, pod, label }: api.SandboxSummary): string {
  const place = [namespace, pod].filter((part) => part !== undefined).join("/");
  return [
    STATES[state],
    `${counted(spans, "span")} in ${counted(traces, "trace")}`,
    ...(spansNotKept === 0 ? [] : [`${spansNotKept} more were not kept`]),
    ...(errors === 0 ? [] : [counted(errors, "error")]),
    ...(place === "" ? [] : [`pod ${printable(place)}`]),
    ...(label === "" ? [] : [`label ${printable(label)}`]),
  ].join(", ");
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
