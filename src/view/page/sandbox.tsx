import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import type { SandboxDetail } from "../api.ts";
import { Aside } from "./aside.tsx";
import { formatArrow, formatDuration } from "./format.ts";
import { useKeys } from "./keys.ts";
import { clockText, Empty, Text, useLoaded } from "./parts.tsx";
import { State } from "./sandbox-list.tsx";
import { buildRows, itemOfKey, keyOf, nameOf, sideOf, type SpanRows, visibleItems } from "./span-rows.ts";
import { change, changes, data, filter, lastSandbox, themeChanges, url } from "./state.ts";
import { padded, type Stretch } from "./time-axis.ts";
import { parseStretch } from "./url-state.ts";
import { Waterfall } from "./waterfall.ts";

/** `#/sandbox/ID`: one sandbox, all its traces as one tree. */
export function SandboxPage(): JSX.Element {
  const { id } = url.value;
  useEffect(() => {
    lastSandbox.value = id;
  }, [id]);
  const revision = changes.value.sandbox === id ? changes.value.count : 0;
  const loaded = useLoaded(() => data().sandbox(id), [id, revision]);
  if (loaded === undefined) return <Empty title="Loading…" />;
  if ("error" in loaded) {
    return (
      <Empty title="This sandbox is not here">
        <p>{loaded.error}</p>
        <p>
          <a href="#/sandboxes">All sandboxes</a>
        </p>
      </Empty>
    );
  }
  return <SandboxView key={id} detail={loaded.value} />;
}

function SandboxView({ detail }: { detail: SandboxDetail }): JSX.Element {
  const { query } = url.value;
  const isRaw = query.get("clock") === "raw";
  const rows = useMemo(() => buildRows(detail, isRaw), [detail, isRaw]);
  const all = useMemo(() => wholeStretch(detail, rows), [detail, rows]);
  const folded = useMemo(() => {
    const keys = (query.get("fold") ?? "").split(".").filter((key) => key !== "");
    if (keys[0] === "all") return new Set(foldable(rows));
    return new Set(keys.map((key) => itemOfKey(detail, key)).filter((item) => item >= 0));
  }, [detail, rows, query.get("fold")]);
  const shown = useMemo(() => visibleItems(rows, folded), [rows, folded]);
  const matches = useMatches(detail);
  const selected = query.get("span") === null ? -1 : itemOfKey(detail, query.get("span") ?? "");
  const stretch = parseStretch(query.get("t")) ?? all;
  const view = { detail, rows, visible: shown, stretch, all, folded, matches, selected };

  const actions = {
    select: (item: number) => change({ span: item < 0 ? undefined : keyOf(detail, item) }),
    fold: (item: number) => {
      const next = new Set(folded);
      if (!next.delete(item) && (rows.children[item] ?? 0) > 0) next.add(item);
      change({ fold: [...next].map((one) => keyOf(detail, one)).join(".") || undefined });
    },
    foldAll: (isFolded: boolean) => change({ fold: isFolded ? "all" : undefined }),
    look: (next: Stretch | undefined) => {
      change({ t: next === undefined ? undefined : `${Math.round(next.from)}-${Math.round(next.to)}` });
    },
    toggleClock: () => change({ clock: isRaw ? undefined : "raw" }),
  };
  useKeys(view, actions);

  const place = useRef<HTMLDivElement>(null);
  const waterfall = useRef<Waterfall | undefined>(undefined);
  useEffect(() => {
    if (place.current === null) return;
    const latest = (name: "select" | "fold" | "foldAll" | "look") => (value: never): void =>
      current.current[name](value);
    waterfall.current = new Waterfall(place.current, {
      select: latest("select") as (item: number) => void,
      fold: latest("fold") as (item: number) => void,
      foldAll: latest("foldAll") as (isFolded: boolean) => void,
      look: latest("look") as (stretch: Stretch) => void,
    });
    return () => place.current?.replaceChildren();
  }, []);
  const current = useRef(actions);
  current.current = actions;
  useEffect(() => waterfall.current?.show(view));
  useEffect(() => waterfall.current?.draw(), [themeChanges.value]);

  return (
    <>
      <Head detail={detail} isRaw={isRaw} toggleClock={actions.toggleClock} look={actions.look} />
      <Phases detail={detail} look={actions.look} />
      <div class="cols">
        <div class="wf" ref={place} />
        <Aside detail={detail} rows={rows} selected={selected} />
      </div>
    </>
  );
}

function Head(
  { detail, isRaw, toggleClock, look }: {
    detail: SandboxDetail;
    isRaw: boolean;
    toggleClock: () => void;
    look: (stretch: Stretch | undefined) => void;
  },
): JSX.Element {
  const { start, startRange, startStretch } = detail;
  return (
    <div class="head">
      <div>
        <h1>
          Sandbox{" "}
          <span class="mono">
            <Text>{detail.id}</Text>
          </span>
        </h1>
        <div class="chips">
          <span class="chip w">
            <State of={detail} />
          </span>
          {detail.vmm !== undefined && <span class="chip">{detail.vmm}</span>}
          {detail.pod !== undefined && (
            <span class="chip">
              <Text>{[detail.namespace, detail.pod].filter((part) => part !== undefined).join("/")}</Text>
            </span>
          )}
          {detail.cid !== undefined && <span class="chip">CID {detail.cid}</span>}
          {detail.kataVersion !== undefined && (
            <span class="chip">
              Kata <Text limit={40}>{detail.kataVersion}</Text>
            </span>
          )}
          {detail.label !== "" && (
            <span class="chip">
              <Text>{detail.label}</Text>
            </span>
          )}
          <span class="chip">{detail.spans} spans</span>
          <span class="chip">{detail.traces} {detail.traces === 1 ? "trace" : "traces joined"}</span>
          {detail.spansNotKept > 0 && <span class="chip e">+{detail.spansNotKept} not kept</span>}
          {detail.errors > 0 && <span class="chip e">✗ {detail.errors} {detail.errors === 1 ? "error" : "errors"}
          </span>}
          <button type="button" class="chip" title="The guest's own clock, or the host's (c)" onClick={toggleClock}>
            guest clock {isRaw ? "as it was" : clockText(detail.clock)}
          </button>
          {detail.tracingCost !== undefined && <TracingCost of={detail.tracingCost} />}
        </div>
      </div>
      <span class="sp" />
      <div class="big">
        {start === undefined || startStretch === undefined
          ? <div class="v">start not traced</div>
          : (
            <button type="button" class="v" title="Zoom to the start" onClick={() => look(padded(startStretch))}>
              {formatDuration(start)} to start
            </button>
          )}
        {start !== undefined && startRange !== undefined && (
          <div class="s">
            p50 of {startRange.count}: {formatDuration(startRange.p50)}{" "}
            <span class={start > startRange.p50 ? "up" : "dn"}>{formatArrow(start / startRange.p50 - 1)}</span>
            {" · slower than "}
            {Math.round(startRange.shareBelow * 100)} %
          </div>
        )}
      </div>
    </div>
  );
}

function TracingCost({ of }: { of: NonNullable<SandboxDetail["tracingCost"]> }): JSX.Element {
  const { spans, each } = of;
  const why = `The Go runtime sends each span before it goes on: ${spans} until the start was over, some ` +
    `${formatDuration(each, 2)} each, by the pauses between its spans.`;
  return (
    <span class="chip" title={why}>
      tracing cost ≈ {formatDuration(spans * each, 1)}
    </span>
  );
}

function Phases(
  { detail, look }: { detail: SandboxDetail; look: (stretch: Stretch | undefined) => void },
): JSX.Element | null {
  if (detail.phases.length === 0) return null;
  const total = detail.start ?? 1;
  return (
    <div class="strip">
      <div class="cap">
        <b>Where the start's time goes</b>
        <span>
          {detail.phases.some(({ p50 }) => p50 !== undefined) && "each phase against its p50 · "}click one to zoom,{" "}
          <kbd>0</kbd> for all
        </span>
      </div>
      <div class="bar">
        {detail.phases.map(({ phase, name, from, to, p50 }) => {
          const change = p50 === undefined ? 0 : (to - from) / p50 - 1;
          return (
            <button
              type="button"
              class={`seg phase-${phase}`}
              style={{ flexGrow: (to - from) / total }}
              title={`${name}: ${formatDuration(to - from)}${p50 === undefined ? "" : `, p50 ${formatDuration(p50)}`}`}
              onClick={() => look(padded({ from, to }))}
            >
              <b>
                {formatDuration(to - from)}
                {Math.abs(change) >= 0.05 && ` ${formatArrow(change)}`}
              </b>
              <span>{name}</span>
            </button>
          );
        })}
      </div>
    </div>
  );
}

function wholeStretch({ startStretch }: SandboxDetail, { start, duration, count }: SpanRows): Stretch {
  let from = startStretch?.from ?? Infinity;
  let to = startStretch?.to ?? -Infinity;
  for (let item = 0; item < count; item++) {
    from = Math.min(from, start[item] as number);
    to = Math.max(to, (start[item] as number) + (duration[item] as number));
  }
  return to > from ? { from, to } : { from: 0, to: 1 };
}

function* foldable({ count, children }: SpanRows): Generator<number> {
  for (let item = 0; item < count; item++) if ((children[item] as number) > 0) yield item;
}

/** Which items fit the filter; those with an attribute have to be asked for. */
function useMatches(detail: SandboxDetail): Uint8Array | undefined {
  const { test, attributes } = filter.value;
  const [found, setFound] = useState<{ readonly for: string; readonly spans: ReadonlySet<string> }>();
  const asked = JSON.stringify(attributes);
  useEffect(() => {
    if (attributes.length === 0) return;
    const all = attributes.map(({ key, value }) => data().spansWith(detail.id, key, value));
    void Promise.all(all).then((lists) => {
      const [first = [], ...others] = lists.map((list) => new Set(list));
      setFound({ for: asked, spans: new Set([...first].filter((span) => others.every((other) => other.has(span)))) });
    });
  }, [detail, asked]);
  return useMemo(() => {
    if (test === undefined && attributes.length === 0) return undefined;
    const { columns } = detail;
    const matches = new Uint8Array(columns.id.length + detail.untraced.length);
    for (let item = 0; item < matches.length; item++) {
      const isSpan = item < columns.id.length;
      const fits = test === undefined || test({
        name: nameOf(detail, item),
        side: sideOf(columns, item),
        error: columns.error[item] === 1,
        duration: columns.duration[item] ?? 0,
        self: columns.self[item] ?? 0,
      });
      const key = isSpan ? `${columns.traceIds[columns.trace[item] as number]}:${columns.id[item]}` : "";
      const hasAttribute = attributes.length === 0 || (found?.for === asked && found.spans.has(key));
      matches[item] = fits && hasAttribute ? 1 : 0;
    }
    return matches;
  }, [detail, filter.value, found]);
}
