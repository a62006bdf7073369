import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { ClockView, Distribution } from "../api.ts";
import { formatDuration, visible } from "./format.ts";

/** A guest's text: made visible, and kept from reordering what stands beside it. */
export function Text({ children, limit = 400 }: { children: string; limit?: number }): JSX.Element {
  return <bdi>{visible(children, limit)}</bdi>;
}

/** Leads to a span on its sandbox's page. */
export function SpanLink({ of, children }: {
  of: { readonly sandbox: string; readonly span: string };
  children: ComponentChildren;
}): JSX.Element {
  return <a class="mono" href={`#/sandbox/${encodeURIComponent(of.sandbox)}?span=${of.span}`}>{children}</a>;
}

export function Key({ children }: { children: string }): JSX.Element {
  return <kbd>{children}</kbd>;
}

/** What an answer becomes on a page: itself, an error, or nothing yet. */
export type Loaded<Value> = { readonly value: Value } | { readonly error: string } | undefined;

/** Loads something again whenever one of `inputs` changes; the last answer stays until there is another one. */
export function useLoaded<Value>(load: () => Promise<Value>, inputs: readonly unknown[]): Loaded<Value> {
  const [loaded, setLoaded] = useState<Loaded<Value>>(undefined);
  useEffect(() => {
    let isCurrent = true;
    load().then(
      (value) => isCurrent && setLoaded({ value }),
      (error: Error) => isCurrent && setLoaded({ error: error.message }),
    );
    return () => {
      isCurrent = false;
    };
  }, inputs);
  return loaded;
}

/** A value that follows another one at most so often; its last change is never lost. @param ms milliseconds. */
export function useCalm<Value>(value: Value, ms: number): Value {
  const [calm, setCalm] = useState({ value, at: -Infinity });
  useEffect(() => {
    if (calm.value === value) return;
    const wait = Math.max(0, calm.at + ms - performance.now());
    const timer = setTimeout(() => setCalm({ value, at: performance.now() }), wait);
    return () => clearTimeout(timer);
  }, [value, calm, ms]);
  return calm.value;
}

/** A page that has nothing to show, and why. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <h1>{title}</h1>
      <div>{children}</div>
    </div>
  );
}

export function clockText(clock: ClockView): string {
  switch (clock.state) {
    case "aligned":
      return `${clock.offset < 0 ? "" : "+"}${formatDuration(clock.offset)} ± ${formatDuration(clock.error)}`;
    case "drifts":
      return "drifts";
    case "not-aligned":
      return "not aligned";
  }
}

/** A distribution as a small chart; `mark` is where something stands in it. */
export function Histogram(
  { of, mark, side, height = 54, before }: {
    of: Distribution;
    mark?: number;
    side: string;
    height?: number;
    before?: Distribution;
  },
): JSX.Element | null {
  const first = of.buckets[0];
  const last = of.buckets.at(-1);
  if (first === undefined || last === undefined) return null;
  const low = Math.min(first.from, before?.buckets[0]?.from ?? Infinity);
  const high = Math.max(last.from, before?.buckets.at(-1)?.from ?? 0) + (last.from - first.from) / of.buckets.length;
  const x = (value: number): number => Math.min(100, Math.max(0, (value - low) / (high - low || 1) * 100));
  const bars = (buckets: Distribution["buckets"], className: string): JSX.Element[] => {
    const total = buckets.reduce((sum, { count }) => sum + count, 0);
    const most = Math.max(...of.buckets.map(({ count }) => count / Math.max(1, of.count)), 1e-9);
    return buckets.filter(({ count }) => count > 0).map(({ from, to, count }) => {
      const tall = Math.min(1, count / total / most) * (height - 4);
      const left = x(from);
      const right = x(Math.min(to, high));
      return (
        <rect class={className} x={left} width={Math.max(0.4, right - left - 0.3)} y={height - tall} height={tall} />
      );
    });
  };
  return (
    <svg
      class="dist"
      viewBox={`0 0 100 ${height}`}
      preserveAspectRatio="none"
      role="img"
      aria-label="distribution"
      style={{ height }}
    >
      {before && bars(before.buckets, "was")}
      <g class={`fill-${side}`}>{bars(of.buckets, "is")}</g>
      <line class="median" x1={x(of.p50)} x2={x(of.p50)} y1="4" y2={height} />
      {mark !== undefined && <line class="mark" x1={x(mark)} x2={x(mark)} y1="0" y2={height} />}
    </svg>
  );
}
