import process from "node:process";

/** Says what a test has measured, in one line: which is what the tables in docs/guarantees.md are made of. */
export function report(what: string, figures: Readonly<Record<string, number | string>>): void {
  const parts = Object.entries(figures).map(([name, value]) => `${name} ${value}`);
  process.stdout.write(`  ${what}: ${parts.join(", ")}\n`);
}

/** A number from the environment, or what stands for it. */
export function fromEnvironment(name: string, otherwise: number): number {
  const value = process.env[name];
  return value === undefined || value === "" ? otherwise : Number(value);
}

/** The value that so large a share of values is not above, in a few digits. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
  return Math.round(value * 10) / 10;
}
