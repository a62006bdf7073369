import process from "node:process";

/** At least or at most a value. */
export interface Goal {
  readonly kind: "min" | "max";
  readonly value: number;
}

export const atMost = (value: number): Goal => ({ kind: "max", value });
export const atLeast = (value: number): Goal => ({ kind: "min", value });

/** A figure as a multiple of another one of the same run. */
export interface Comparison {
  /** What follows the number: `the Rust crates' speed`. */
  readonly with: string;
  readonly ratio: number;
  readonly goal?: Goal;
}

/** One measured figure. */
export interface Row {
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  /** The least and the most of the measurements, of which the figure is the quietest; absent if there is only one. */
  readonly spread?: readonly [number, number];
  readonly goal?: Goal;
  readonly comparisons?: readonly Comparison[];
}

/** Whether a figure reaches its goals; undefined if it has none. */
export function reached({ value, goal, comparisons = [] }: Row): boolean | undefined {
  const goals = [{ value, goal }, ...comparisons.map(({ ratio, goal }) => ({ value: ratio, goal }))]
    .flatMap(({ value, goal }) =>
      goal === undefined ? [] : [goal.kind === "min" ? value >= goal.value : value <= goal.value]
    );
  return goals.length === 0 ? undefined : !goals.includes(false);
}

/** Three digits, or all before the point if they are more. */
function number(n: number): string {
  return n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0);
}

function sign(goal: Goal): string {
  return `${goal.kind === "min" ? "≥" : "≤"} ${goal.value}`;
}

function comparisonText({ with: other, ratio, goal }: Comparison): string {
  return `${ratio.toFixed(2)} times ${other}${goal === undefined ? "" : ` (${sign(goal)})`}`;
}

/** Figures as a Markdown table, followed by notes about the measurement. */
export function printReport(rows: readonly Row[], notes: readonly string[]): void {
  const lines = [
    "| figure | measured | goal | reached | compared in the same run |",
    "|---|---|---|---|---|",
  ];
  for (const row of rows) {
    const { figure, value, unit, spread, goal, comparisons = [] } = row;
    const range = spread === undefined ? "" : ` (${spread.map(number).join("–")})`;
    const isReached = reached(row);
    lines.push(
      [
        "",
        figure,
        `${number(value)} ${unit}${range}`,
        goal === undefined ? "–" : sign(goal),
        isReached === undefined ? "–" : isReached ? "yes" : "no",
        comparisons.length === 0 ? "–" : comparisons.map(comparisonText).join("; "),
        "",
      ].join(" | ").trim(),
    );
  }
  process.stdout.write(`${lines.join("\n")}\n\n${notes.map((note) => `- ${note}\n`).join("")}`);
}
