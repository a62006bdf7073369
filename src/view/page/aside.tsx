import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { AttributeView, SandboxDetail, SpanDetail } from "../api.ts";
import { formatDuration } from "./format.ts";
import { Histogram, Text, useLoaded } from "./parts.tsx";
import { nameOf, NOBODY, sideOf, type SpanRows } from "./span-rows.ts";
import { change, data } from "./state.ts";

const SIDES = {
  runtime: "runtime, on the host",
  agent: "agent, in the guest",
  containerd: "containerd, on the host",
  host: "on the host",
  [NOBODY]: "nobody traced what happened here",
} as const;

/** Operations in the list of hot spots. */
const HOT_SPOTS = 10;
/** What of an attribute's value is shown, characters. */
const VALUE_CHARACTERS = 20_000;

/** What is known of the selected span, and where the sandbox's time goes. */
export function Aside(
  { detail, rows, selected }: { detail: SandboxDetail; rows: SpanRows; selected: number },
): JSX.Element {
  return (
    <aside aria-label="Details" tabIndex={0}>
      {selected >= 0 && selected < rows.count && (
        <Selected
          key={selected}
          detail={detail}
          rows={rows}
          item={selected}
        />
      )}
      <HotSpots detail={detail} />
      {selected < 0 && detail.resource.length > 0 && <Attributes title="Resource" of={detail.resource} />}
    </aside>
  );
}

function Selected({ detail, rows, item }: { detail: SandboxDetail; rows: SpanRows; item: number }): JSX.Element {
  const { columns } = detail;
  const side = sideOf(columns, item);
  const isSpan = side !== NOBODY;
  const traceId = columns.traceIds[columns.trace[item] as number] ?? "";
  const span = useLoaded(
    () => isSpan ? data().span(detail.id, traceId, columns.id[item] as string) : Promise.reject(new Error("")),
    [detail, item],
  );
  return (
    <>
      <section>
        <div class="ttl">
          {columns.error[item] === 1 && "✗ "}
          <Text>{nameOf(detail, item)}</Text>
        </div>
        <div class="quiet">{SIDES[side]}</div>
        {side === NOBODY && (
          <p class="quiet">
            Between two spans of the start nothing reported: a guest's kernel boots, an agent starts, a program waits.
          </p>
        )}
        <dl>
          <dt>Took</dt>
          <dd>
            <b>{formatDuration(rows.duration[item] as number)}</b>
            {isSpan && ` · itself ${formatDuration(columns.self[item] as number)}`}
          </dd>
          <dt>Began</dt>
          <dd>{formatDuration(rows.start[item] as number)} after the sandbox's first span</dd>
        </dl>
        {span !== undefined && "value" in span && span.value.status.code === "error" && (
          <p class="bad">
            <Text>{span.value.status.message || "error"}</Text>
          </p>
        )}
      </section>
      {span !== undefined && "value" in span && (
        <SpanParts
          span={span.value}
          duration={rows.duration[item] as number}
        />
      )}
      {span !== undefined && "error" in span && span.error !== "" && <section class="quiet">{span.error}</section>}
    </>
  );
}

function SpanParts({ span, duration }: { span: SpanDetail; duration: number }): JSX.Element {
  const { distribution } = span;
  const identity: AttributeView[] = [
    { key: "span", value: span.spanId },
    { key: "trace", value: span.traceId },
    ...(span.parentSpanId === "" ? [] : [{ key: "parent", value: span.parentSpanId }]),
    { key: "kind", value: span.kind },
    ...(span.scope === "" ? [] : [{ key: "scope", value: span.scope }]),
  ];
  return (
    <>
      {distribution !== undefined && (
        <section>
          <h2>
            <span>Against {distribution.count} spans</span>
            <span>slower than {Math.round(distribution.shareBelow * 100)} %</span>
          </h2>
          <Histogram of={distribution} mark={duration} side={span.side} />
          <div class="edges">
            <span>p50 {formatDuration(distribution.p50)}</span>
            <span>p95 {formatDuration(distribution.p95)}</span>
            <span>p99 {formatDuration(distribution.p99)}</span>
          </div>
        </section>
      )}
      <Attributes title="Attributes" of={[...span.attributes, ...identity]} />
      {span.events.length > 0 && (
        <section>
          <h2>Events</h2>
          {span.events.map(({ name, timeNs, attributes }) => (
            <details>
              <summary>
                <span class="quiet">+{formatDuration(Number(BigInt(timeNs) - BigInt(span.startNs)))}</span>{" "}
                <Text>{name}</Text>
              </summary>
              <Pairs of={attributes} />
            </details>
          ))}
        </section>
      )}
      {span.links.length > 0 && (
        <section>
          <h2>Links</h2>
          {span.links.map((link) => (
            <Pairs
              of={[{ key: "trace", value: link.traceId }, { key: "span", value: link.spanId }, ...link.attributes]}
            />
          ))}
        </section>
      )}
      <Attributes title="Resource" of={span.resource} />
    </>
  );
}

function Attributes({ title, of }: { title: string; of: readonly AttributeView[] }): JSX.Element {
  return (
    <section>
      <h2>{title}</h2>
      <Pairs of={of} />
    </section>
  );
}

function Pairs({ of }: { of: readonly AttributeView[] }): JSX.Element {
  return (
    <dl class="mono">
      {of.map(({ key, value, cut }) => {
        const text = typeof value === "string" ? value : JSON.stringify(value);
        return (
          <>
            <dt>
              <Text limit={80}>{key}</Text>
            </dt>
            <dd class={text.length > 300 ? "long" : ""}>
              <Text limit={VALUE_CHARACTERS}>{text}</Text>
              {cut !== undefined && <span class="bad">… {cut} more characters were not kept</span>}
            </dd>
          </>
        );
      })}
    </dl>
  );
}

function HotSpots({ detail }: { detail: SandboxDetail }): JSX.Element | null {
  const spots = useMemo(() => hottest(detail), [detail]);
  const [first] = spots;
  if (first === undefined) return null;
  return (
    <section>
      <h2>
        <span>Hot spots, by self time</span>
        {detail.start !== undefined && <span>% of the start</span>}
      </h2>
      <div class="hs">
        {spots.map(({ name, side, self, count }) => (
          <>
            <button
              type="button"
              class="hb"
              title="Filter by this operation"
              onClick={() => change({ f: name.split(/\s/)[0] })}
            >
              <i class={`fill-${side}`} style={{ width: `${self / first.self * 100}%` }} />
              <span>
                <Text limit={40}>{name}</Text>
                {count > 1 && ` ×${count}`}
              </span>
            </button>
            <span class="r">{formatDuration(self)}</span>
            <span class="r quiet">{detail.start !== undefined && (self / detail.start * 100).toFixed(1)}</span>
          </>
        ))}
      </div>
    </section>
  );
}

interface HotSpot {
  readonly name: string;
  readonly side: string;
  self: number;
  count: number;
}

/** The operations that took most time of themselves until the end of the start, if that is known. */
function hottest({ columns, startStretch }: SandboxDetail): HotSpot[] {
  const spots = new Map<string, HotSpot>();
  // Spans that last as long as the sandbox say nothing about its start.
  const length = startStretch === undefined ? Infinity : startStretch.to - startStretch.from;
  for (let row = 0; row < columns.id.length; row++) {
    if (startStretch !== undefined && (columns.start[row] as number) > startStretch.to) continue;
    if ((columns.duration[row] as number) > length) continue;
    const name = columns.names[columns.name[row] as number] ?? "";
    const side = columns.side[row] as string;
    const spot = spots.get(`${side} ${name}`) ?? { name, side, self: 0, count: 0 };
    spot.self += columns.self[row] as number;
    spot.count++;
    spots.set(`${side} ${name}`, spot);
  }
  return [...spots.values()].sort((a, b) => b.self - a.self).slice(0, HOT_SPOTS);
}
