import type { Histogram } from "../pipeline/metrics.ts";

/** Label names and values. */
export type Labels = Readonly<Record<string, string>>;

/** The current value of one time series. */
export interface Sample {
  /** Absent: none. */
  readonly labels?: Labels;
  readonly value: number;
}

/** All series of one metric. */
export type Family =
  | {
    readonly name: string;
    readonly help: string;
    readonly type: "counter" | "gauge";
    readonly samples: readonly Sample[];
  }
  | {
    readonly name: string;
    readonly help: string;
    readonly type: "histogram";
    readonly histograms: readonly { readonly labels: Labels; readonly histogram: Histogram }[];
  };

/** The `Content-Type` of {@link exposition}. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/**
 * Families in Prometheus's text format.
 *
 * prom-client is not used, because its histograms cannot take counts from elsewhere, it counts CPU time from when it is
 * loaded, and it writes `Nan` for values that Bun and Deno do not have.
 *
 * Specification: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
 */
export function exposition(families: readonly Family[]): string {
  let text = "";
  for (const family of families) {
    const { name, type } = family;
    // There is nothing to show yet.
    if ((family.type === "histogram" ? family.histograms : family.samples).length === 0) continue;
    text += `# HELP ${name} ${escapeHelp(family.help)}\n# TYPE ${name} ${type}\n`;
    if (family.type === "histogram") {
      for (const { labels, histogram } of family.histograms) text += histogramLines(name, labels, histogram);
    } else {
      for (const { labels, value } of family.samples) text += line(name, labels, value);
    }
  }
  return text;
}

/** Buckets are cumulative here, and the last one, `+Inf`, counts everything. */
function histogramLines(name: string, labels: Labels, histogram: Histogram): string {
  let text = "";
  let below = 0;
  for (const [index, bound] of histogram.bounds.entries()) {
    below += histogram.counts[index] as number;
    text += line(`${name}_bucket`, { ...labels, le: number(bound) }, below);
  }
  text += line(`${name}_bucket`, { ...labels, le: "+Inf" }, histogram.count);
  text += line(`${name}_sum`, labels, histogram.sum);
  return text + line(`${name}_count`, labels, histogram.count);
}

function line(name: string, labels: Labels | undefined, value: number): string {
  const pairs = Object.entries(labels ?? {}).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${number(value)}\n`;
}

/** A number as Go's `ParseFloat` reads it, which is JavaScript's form except for infinities. */
function number(value: number): string {
  if (value === Infinity) return "+Inf";
  return value === -Infinity ? "-Inf" : String(value);
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
