import type { Stretch } from "./critical-path.ts";
import { isMadeUp, type Phase, PHASE_MARKS, type PhaseMark, PHASES, START_ENDS } from "./kata-operations.ts";
import type { Side, SpanTable } from "./span-table.ts";

/** One phase of a start. */
export interface PhaseStretch extends Stretch {
  readonly phase: Phase;
}

/** A sandbox's start: from its first span to the end of its first container's start. */
export interface Start extends Stretch {
  /** The phases that are known, in order; together they cover the start. */
  readonly phases: readonly PhaseStretch[];
}

/**
 * Finds a sandbox's start and its phases. Undefined while the first container has not started: a running sandbox's
 * start may still go on, and a sandbox may fail before.
 *
 * @param starts corrected starts, if the guest's clock is aligned.
 */
export function findStart(table: SpanTable, starts: Float64Array = table.start): Start | undefined {
  const from = firstStart(table, starts);
  const to = startEnd(table, starts);
  if (from === undefined || to === undefined || to <= from) return undefined;
  return { from, to, phases: findPhases(table, starts, from, to) };
}

/**
 * The first span of the host, because the guest starts later and its clock may be wrong; without one the first of all.
 */
function firstStart(table: SpanTable, starts: Float64Array): number | undefined {
  let first: number | undefined;
  let firstOfHost: number | undefined;
  for (let row = 0; row < table.count; row++) {
    const start = starts[row] as number;
    first = Math.min(first ?? start, start);
    if (isOfHost(table, row)) firstOfHost = Math.min(firstOfHost ?? start, start);
  }
  return firstOfHost ?? first;
}

function startEnd(table: SpanTable, starts: Float64Array): number | undefined {
  for (const { side, names } of START_ENDS) {
    const row = firstRow(table, starts, side, names);
    if (row !== undefined) return (starts[row] as number) + (table.duration[row] as number);
  }
  return undefined;
}

function firstRow(
  table: SpanTable,
  starts: Float64Array,
  side: Side,
  names: readonly string[],
): number | undefined {
  let first: number | undefined;
  for (let row = 0; row < table.count; row++) {
    if (table.side[row] !== side || !names.includes(table.name[row] as string)) continue;
    if (first === undefined || (starts[row] as number) < (starts[first] as number)) first = row;
  }
  return first;
}

/** A phase that would begin before the one that comes before it has no length and is left out. */
function findPhases(table: SpanTable, starts: Float64Array, from: number, to: number): PhaseStretch[] {
  const begins: { phase: Phase; at: number }[] = [];
  for (const phase of PHASES) {
    const mark = phaseBegin(table, starts, PHASE_MARKS.filter((candidate) => candidate.phase === phase));
    const at = begins.length === 0 && phase === firstPhase(table) ? from : mark;
    if (at === undefined) continue;
    const within = Math.min(Math.max(at, begins.at(-1)?.at ?? from), to);
    begins.push({ phase, at: begins.length === 0 ? from : within });
  }
  return begins
    .map(({ phase, at }, index) => ({ phase, from: at, to: begins[index + 1]?.at ?? to }))
    .filter((stretch) => stretch.to > stretch.from);
}

/** Without the host's spans nothing is known of what the host prepared: the first span is the agent's own start. */
function firstPhase(table: SpanTable): Phase {
  return table.side.some((_, row) => isOfHost(table, row)) ? "prepare" : "guest";
}

function isOfHost({ side, name }: SpanTable, row: number): boolean {
  return side[row] !== "agent" && !isMadeUp(name[row] ?? "");
}

function phaseBegin(table: SpanTable, starts: Float64Array, marks: readonly PhaseMark[]): number | undefined {
  for (const { side, names, edge } of marks) {
    const row = firstRow(table, starts, side, names);
    if (row === undefined) continue;
    return (starts[row] as number) + (edge === "end" ? (table.duration[row] as number) : 0);
  }
  return undefined;
}
