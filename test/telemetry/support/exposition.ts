/**
 * A strict reader of Prometheus's text format. What the specification lets a reader forgive (order, blanks, families
 * without a type) is an error here, so that the endpoint cannot drift.
 *
 * Specification: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
 */

/** One family as it was read. */
export interface ReadFamily {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  /** By the series' name and labels, as they are in the text. */
  readonly series: ReadonlyMap<string, number>;
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"';
const HELP_LINE = new RegExp(`^# HELP (${NAME}) ((?:[^\\\\\\n]|\\\\[\\\\n])+)$`);
const TYPE_LINE = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram)$`);
const SAMPLE_LINE = new RegExp(`^(${NAME})((?:\\{${LABEL}(?:,${LABEL})*\\})?) (\\S+)$`);
const NUMBER = /^(?:[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN)$/;

/** Reads a whole response. Throws an `Error` that names the line at fault. */
export function readExposition(text: string): ReadonlyMap<string, ReadFamily> {
  const families = new Map<string, ReadFamily>();
  if (!text.endsWith("\n")) throw new Error("the last line has no end");
  const lines = text.slice(0, -1).split("\n");
  for (let at = 0; at < lines.length;) {
    const [, name, help] = match(HELP_LINE, lines[at++]);
    const [, typed, type] = match(TYPE_LINE, lines[at++]);
    if (typed !== name) throw new Error(`the type of ${typed} follows the help of ${name}`);
    if (families.has(name)) throw new Error(`${name} comes twice`);
    const series = new Map<string, number>();
    while (at < lines.length && !(lines[at] as string).startsWith("#")) {
      const [, sample, labels, value] = match(SAMPLE_LINE, lines[at++]);
      if (!belongs(sample, name, type)) throw new Error(`${sample} stands under ${name}`);
      if (series.has(sample + labels)) throw new Error(`${sample}${labels} comes twice`);
      series.set(sample + labels, readNumber(value));
    }
    if (series.size === 0) throw new Error(`${name} has no samples`);
    const family = { name, help, type, series } as ReadFamily;
    check(family);
    families.set(name, family);
  }
  return families;
}

function match(pattern: RegExp, line: string | undefined): [string, string, string, string] {
  const found = pattern.exec(line ?? "");
  if (found === null) throw new Error(`not of the form ${pattern}: ${JSON.stringify(line)}`);
  return found as unknown as [string, string, string, string];
}

function belongs(sample: string, family: string, type: string): boolean {
  if (type !== "histogram") return sample === family;
  return ["_bucket", "_sum", "_count"].some((suffix) => sample === family + suffix);
}

function readNumber(text: string): number {
  if (!NUMBER.test(text)) throw new Error(`not a number: ${text}`);
  return Number(text.replace("Inf", "Infinity"));
}

function check({ name, type, series }: ReadFamily): void {
  for (const [id, value] of series) {
    if (type !== "gauge" && !(value >= 0)) throw new Error(`${id} is ${value}`);
  }
  if ((type === "counter") !== name.endsWith("_total")) {
    throw new Error(`${name} is a ${type}: only counters end in _total`);
  }
  if (type !== "histogram") return;
  // There is one histogram for each set of the other labels.
  const last = new Map<string, { bound: number; count: number }>();
  for (const [id, value] of series) {
    const [, labels, text] = /_bucket\{(.*?),?le="([^"]+)"\}$/.exec(id) ?? [];
    if (labels === undefined || text === undefined) continue;
    const bound = readNumber(text);
    const before = last.get(labels) ?? { bound: -Infinity, count: -1 };
    if (bound <= before.bound || value < before.count) throw new Error(`${id} is not cumulative`);
    last.set(labels, { bound, count: value });
  }
  if (last.size === 0) throw new Error(`${name} has no bucket`);
  for (const [labels, { bound, count }] of last) {
    const suffix = labels === "" ? "" : `{${labels}}`;
    if (bound !== Infinity) throw new Error(`${name}${suffix} has no bucket for +Inf`);
    if (series.get(`${name}_count${suffix}`) !== count) {
      throw new Error(`${name}_count${suffix} is not its +Inf bucket`);
    }
    if (!series.has(`${name}_sum${suffix}`)) throw new Error(`${name}${suffix} has no sum`);
  }
}
