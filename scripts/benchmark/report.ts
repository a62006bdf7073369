import process from "node:process";

/** One measured figure. */
export interface Row {
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  /** The least and the most of the measurements, of which the figure is the quietest; absent if there is only one. */
  readonly spread?: readonly [number, number];
  /** `min`: at least the goal; `max`: at most. */
  readonly goal?: { readonly kind: "min" | "max"; readonly value: number };
  /** How many times as fast as the Rust crates' decoding alone, in the same run. At least 1 is a goal too. */
  readonly ratio?: number;
}

/** Whether a figure reaches its goals; undefined if it has none. */
export function reached({ value, goal, ratio }: Row): boolean | undefined {
  if (goal === undefined) return undefined;
  const within = goal.kind === "min" ? value >= goal.value : value <= goal.value;
  return within && (ratio === undefined || ratio >= 1);
}

function number(n: number): string {
  return n.toFixed(n < 10 ? 2 : 0);
}

/** Figures as a Markdown table, followed by notes about the measurement. */
export function printReport(rows: readonly Row[], notes: readonly string[]): void {
  const lines = [
    "| figure | measured | goal | reached | times the Rust crates' speed |",
    "|---|---|---|---|---|",
  ];
  for (const row of rows) {
    const { figure, value, unit, spread, goal, ratio } = row;
    const range = spread === undefined ? "" : ` (${spread.map(number).join("–")})`;
    const isReached = reached(row);
    lines.push(
      [
        "",
        figure,
        `${number(value)} ${unit}${range}`,
        goal === undefined ? "–" : `${goal.kind === "min" ? "≥" : "≤"} ${goal.value}`,
        isReached === undefined ? "–" : isReached ? "yes" : "no",
        ratio === undefined ? "–" : ratio.toFixed(2),
        "",
      ].join(" | ").trim(),
    );
  }
  process.stdout.write(`${lines.join("\n")}\n\n${notes.map((note) => `- ${note}\n`).join("")}`);
}
