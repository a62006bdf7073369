import { existsSync } from "node:fs";
import process from "node:process";
import { printable } from "../../base/log.ts";
import { StoreReader } from "../../store/store-reader.ts";
import { TraceStore } from "../../store/trace-store.ts";
import type * as api from "../api.ts";
import { type Cohort, compareCohorts } from "../compare.ts";
import { type JaegerQuery, jaegerStore } from "../from-jaeger.ts";
import { SandboxIndex } from "../sandbox-index.ts";
import { formatDuration } from "../page/format.ts";
import { LEAST_VALUES } from "../statistics/mann-whitney.ts";
import { FileError, loadFiles } from "./load-files.ts";

/** What `compare` was asked for. */
export interface CompareRequest {
  /** A file, or a label in the store; `b` is the new one. */
  readonly a: string;
  readonly b: string;
  readonly store: string | undefined;
  /** The Jaeger that labels are looked up in, instead of a store. */
  readonly from: Omit<JaegerQuery, "labelBy"> | undefined;
  /** The resource attribute that is a sandbox's label. */
  readonly labelBy: string;
  readonly json: boolean;
  /** How much slower something may be: 0.05 for 5 %. */
  readonly failIf: { readonly percentile: "p50" | "p95" | "p99"; readonly change: number } | undefined;
}

/** The exit code if something is slower beyond chance. */
export const EXIT_SLOWER = 3;

/** Between two columns of the table. */
const GAP = "  ";
/** The column of the operations' names, and what it takes at least. */
const NAME_COLUMN = 1;
const LEAST_NAME_WIDTH = 12;

/** Rows that say nothing are left out beyond this many. */
const SHOWN_ROWS = 40;

/**
 * Compares two cohorts and prints a table, or JSON. Resolves with the exit code. Rejects with a {@link FileError}, a
 * `StoreError` or a `JaegerError`.
 */
export async function runCompare(request: CompareRequest, write: (text: string) => void): Promise<number> {
  const open: TraceStore[] = [];
  try {
    const labels = await openLabels(request, open);
    const comparison = compareCohorts(cohortOf(request.a, labels, open), cohortOf(request.b, labels, open));
    const slower = comparison.rows.filter((row) => row.verdict === "slower" && isOver(row, request.failIf));
    if (request.json) write(`${JSON.stringify(comparison)}\n`);
    else write(tableOf(comparison, request, process.stdout.columns));
    return slower.length > 0 ? EXIT_SLOWER : 0;
  } finally {
    for (const store of open) store.close();
  }
}

/** Where labels are looked up. */
interface LabelledStore {
  /** For people. */
  readonly name: string;
  readonly reader: StoreReader;
  readonly index: SandboxIndex;
}

/** Opens the store or the Jaeger that holds cohorts which are not files of their own. */
async function openLabels(request: CompareRequest, open: TraceStore[]): Promise<LabelledStore | undefined> {
  const { a, b, store: file, from, labelBy } = request;
  if (existsSync(a) && existsSync(b)) return undefined;
  if (from === undefined && file === undefined) return undefined;
  const store = from !== undefined
    ? (await jaegerStore({ ...from, labelBy })).store
    : TraceStore.openForReading(file as string);
  open.push(store);
  const reader = new StoreReader(store);
  return { name: from?.url ?? file ?? "", reader, index: new SandboxIndex(reader) };
}

function cohortOf(name: string, labels: LabelledStore | undefined, open: TraceStore[]): Cohort {
  if (existsSync(name)) return cohortOfFile(name, open);
  if (labels === undefined) {
    throw new FileError(`${name}: no such file; for a label give --store FILE or --from URL too`);
  }
  const { reader, index } = labels;
  const known = index.labels();
  if (!known.includes(name)) {
    const others = known.filter((label) => label !== "").join(", ") || "none (see --label and --label-by)";
    throw new FileError(`${labels.name}: no sandbox has the label "${name}"; there are: ${others}`);
  }
  return { label: name, reader, index };
}

function cohortOfFile(name: string, open: TraceStore[]): Cohort {
  const { store } = loadFiles([name], { labelOf: () => name });
  open.push(store);
  const reader = new StoreReader(store);
  const index = new SandboxIndex(reader);
  const [label = "", ...others] = index.labels();
  if (others.length > 0) {
    throw new FileError(
      `${name}: holds several labels (${index.labels().join(", ")}): give --store ${name} and two labels`,
    );
  }
  return { label, reader, index };
}

function isOver(row: api.CompareRow, condition: CompareRequest["failIf"]): boolean {
  if (condition === undefined) return true;
  const before = row.a[condition.percentile];
  return before > 0 && (row.b[condition.percentile] - before) / before > condition.change;
}

/** @param columns of the terminal: names of operations are cut to fit. */
function tableOf({ a, b, rows }: api.Comparison, request: CompareRequest, columns = Infinity): string {
  const head = ["", "operation", "side", "n", "p50 was", "p50", "change", "p99", "p"];
  const cells = rows.slice(0, SHOWN_ROWS).map((row) => [
    row.verdict === "slower" ? "▲" : row.verdict === "faster" ? "▼" : "",
    printable(row.name, 48),
    row.side,
    `${row.a.count}/${row.b.count}`,
    row.a.count === 0 ? "–" : formatDuration(row.a.p50),
    row.b.count === 0 ? "–" : formatDuration(row.b.p50),
    row.change === undefined ? "–" : `${row.change >= 0 ? "+" : "−"}${Math.abs(row.change * 100).toFixed(1)} %`,
    row.b.count === 0 ? "–" : formatDuration(row.b.p99),
    row.p === undefined ? row.verdict : row.p < 0.001 ? "< 0.001" : row.p.toFixed(3),
  ]);
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map((row) => (row[column] ?? "").length)));
  const others = widths.reduce((sum, width, column) => column === NAME_COLUMN ? sum : sum + width, 0);
  const room = Math.max(LEAST_NAME_WIDTH, columns - others - GAP.length * (widths.length - 1));
  const nameWidth = widths[NAME_COLUMN] = Math.min(widths[NAME_COLUMN] ?? 0, room);
  const fitting = (cell: string): string => cell.length > nameWidth ? `${cell.slice(0, nameWidth - 1)}…` : cell;
  const line = (row: readonly string[]): string =>
    row.map((cell, column) => column === NAME_COLUMN ? fitting(cell) : cell).map((cell, column) =>
      column < 3 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)
    )
      .join(GAP).trimEnd();
  const slower = rows.filter(({ verdict }) => verdict === "slower").length;
  const faster = rows.filter(({ verdict }) => verdict === "faster").length;
  const more = rows.length > SHOWN_ROWS ? [`(${rows.length - SHOWN_ROWS} more operations: --json has them all)`] : [];
  return [
    `${printable(request.b)} (${b.sandboxes} sandboxes) against ${printable(request.a)} (${a.sandboxes})`,
    "",
    line(head),
    ...cells.map(line),
    ...more,
    "",
    `${slower} slower, ${faster} faster beyond chance`,
    `(Mann–Whitney, Holm, p < 0.01; at least ${LEAST_VALUES} sandboxes a side)`,
    "",
  ].join("\n");
}
