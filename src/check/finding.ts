/**
 * What `check` says of one thing:
 * - `ok`: it is as it should be;
 * - `note`: worth knowing, and nothing to do;
 * - `unknown`: this user may not see it, or this machine does not say it;
 * - `warning`: the forwarder works, but not all of it, or not for everybody;
 * - `problem`: spans do not arrive until something is done.
 */
export const STATES = ["ok", "note", "unknown", "warning", "problem"] as const;
export type State = (typeof STATES)[number];

/** One row of the table. */
export interface Finding {
  /** The heading that it stands under. */
  readonly area: string;
  /** What was looked at: a file, a device, a port. */
  readonly item: string;
  readonly state: State;
  /** What was seen. */
  readonly found: string;
  /** What to do, as a command or a sentence; absent if there is nothing to do. */
  readonly advice?: string;
}

/** Everything that one area says, without the area's name. */
export type AreaFinding = Omit<Finding, "area">;

export const ok = (item: string, found: string): AreaFinding => ({ item, state: "ok", found });
export const note = (item: string, found: string, advice?: string): AreaFinding => made("note", item, found, advice);
export const unknown = (item: string, found: string, advice?: string): AreaFinding =>
  made("unknown", item, found, advice);
export const warning = (item: string, found: string, advice: string): AreaFinding =>
  made("warning", item, found, advice);
export const problem = (item: string, found: string, advice: string): AreaFinding =>
  made("problem", item, found, advice);

function made(state: State, item: string, found: string, advice: string | undefined): AreaFinding {
  return { item, state, found, ...(advice !== undefined && { advice }) };
}
