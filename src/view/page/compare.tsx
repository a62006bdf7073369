import type { JSX } from "preact";
import type { CompareRow, Comparison } from "../api.ts";
import { formatChange, formatDuration } from "./format.ts";
import { Empty, Histogram, SpanLink, Text, useLoaded } from "./parts.tsx";
import { change, data, filter, url } from "./state.ts";

/** `#/compare?a&b`: two cohorts of sandboxes, operation by operation. */
export function ComparePage(): JSX.Element {
  const { query } = url.value;
  const labels = useLoaded(async () => (await data().sandboxes(new URLSearchParams())).labels, []);
  const known = labels !== undefined && "value" in labels ? labels.value : [];
  const a = query.get("a") ?? known[0] ?? "";
  const b = query.get("b") ?? known[1] ?? known[0] ?? "";
  const loaded = useLoaded(() => data().compare(a, b), [a, b, known.length]);
  const isAlone = labels !== undefined && "value" in labels && known.length < 2 && a === b;
  // An exported page has nothing to compare with, whatever its labels are, and says so.
  if (isAlone && data().isLive) return <NothingToCompare />;
  return (
    <>
      <div class="intro">
        <h1>
          {a === b ? "Compare" : (
            <>
              <Text limit={60}>{b || "no label"}</Text> against <Text limit={60}>{a || "no label"}</Text>
            </>
          )}
        </h1>
        {loaded !== undefined && "value" in loaded && <Verdict of={loaded.value} />}
        <div class="choices">
          <Labels name="b" title="now" labels={known} value={b} /> against{" "}
          <Labels name="a" title="before" labels={known} value={a} />
        </div>
      </div>
      {loaded === undefined
        ? <Empty title="Loading…" />
        : "error" in loaded
        ? <Empty title="Nothing to compare">{loaded.error}</Empty>
        : <Rows of={loaded.value} />}
    </>
  );
}

/** There are not two cohorts yet: how to have them. */
function NothingToCompare(): JSX.Element {
  return (
    <Empty title="Nothing to compare yet">
      <p>Sandboxes are compared by their labels, such as Kata's version. Run with one, and later with another:</p>
      <pre>{"kata-trace-forwarder view --store FILE --label kata-4.0\n" +
        "kata-trace-forwarder view --store FILE --label kata-4.1"}</pre>
      <p>Or compare two recordings:</p>
      <pre>kata-trace-forwarder compare FILE FILE</pre>
    </Empty>
  );
}

function Labels(
  { name, title, labels, value }: { name: string; title: string; labels: readonly string[]; value: string },
): JSX.Element {
  return (
    <select
      aria-label={title}
      value={value}
      onChange={({ currentTarget }) => change({ [name]: currentTarget.value })}
    >
      {labels.map((label) => <option value={label}>{label === "" ? "no label" : label}</option>)}
    </select>
  );
}

function Verdict({ of }: { of: Comparison }): JSX.Element {
  const whole = of.rows[0];
  const slower = of.rows.filter(({ verdict }) => verdict === "slower").length;
  const faster = of.rows.filter(({ verdict }) => verdict === "faster").length;
  return (
    <p>
      {of.b.sandboxes} sandboxes against {of.a.sandboxes}. {whole !== undefined && whole.change !== undefined && (
        <>
          To start: p50 <b>{formatDuration(whole.b.p50)}</b>, was {formatDuration(whole.a.p50)}{" "}
          <span class={classOf(whole)}>{formatChange(whole.change)}</span>.{" "}
        </>
      )}
      {slower} slower, {faster} faster beyond chance (Mann–Whitney, p &lt; 0.01, Holm-corrected).
    </p>
  );
}

function classOf({ verdict }: CompareRow): string {
  return verdict === "slower" ? "bad" : verdict === "faster" ? "good" : "ok";
}

/** @param labels of both sides, for operations that only one of them has. */
function Change({ of, labels: { a, b } }: { of: CompareRow; labels: { a: string; b: string } }): JSX.Element {
  const only = of.verdict === "only in a" ? a : of.verdict === "only in b" ? b : undefined;
  if (only !== undefined) {
    return (
      <span class="quiet">
        only in <Text limit={40}>{only || "no label"}</Text>
      </span>
    );
  }
  const text = of.change === undefined ? of.verdict : formatChange(of.change);
  return (
    <span class={`pill ${classOf(of)}`} title={of.p === undefined ? of.verdict : `p = ${of.p.toPrecision(2)}`}>
      {text}
    </span>
  );
}

function Rows({ of }: { of: Comparison }): JSX.Element {
  const { test } = filter.value;
  const rows = test === undefined
    ? of.rows
    : of.rows.filter(({ name, side, b }) => test({ name, side, error: false, duration: b.p50, self: b.p50 }));
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Operation</th>
            <th>Side</th>
            <th class="r">Sandboxes</th>
            <th class="r">p50 was</th>
            <th class="r">p50</th>
            <th class="r">p99</th>
            <th class="r">Change of p50</th>
            <th>Distribution (before: outline)</th>
            <th>Slowest</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={`${row.side} ${row.name}`}>
              <td class="strong">
                <Text limit={60}>{row.name}</Text>
              </td>
              <td>
                <i class={`box fill-${row.side}`} /> {row.side}
              </td>
              <td class="r">{row.a.count} / {row.b.count}</td>
              <td class="r">{row.a.count === 0 ? "–" : formatDuration(row.a.p50)}</td>
              <td class="r">{row.b.count === 0 ? "–" : formatDuration(row.b.p50)}</td>
              <td class="r">{row.b.count === 0 ? "–" : formatDuration(row.b.p99)}</td>
              <td class="r">
                {row.verdict === "too few" && <span class="quiet">too few</span>}
                <Change of={row} labels={{ a: of.a.label, b: of.b.label }} />
              </td>
              <td class="chart">
                <Histogram of={row.b} before={row.a} side={row.side} height={20} />
              </td>
              <td>
                {row.slowest !== undefined && (
                  <SpanLink of={row.slowest}>
                    <Text limit={10}>{row.slowest.sandbox}</Text>
                  </SpanLink>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
