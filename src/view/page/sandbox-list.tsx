import type { JSX } from "preact";
import type { SandboxList, SandboxSummary } from "../api.ts";
import { formatAgo, formatDuration } from "./format.ts";
import { clockText, Empty, Text, useCalm, useLoaded } from "./parts.tsx";
import { change, changes, data, filter, filterText, go, url } from "./state.ts";

/** How often the page follows what comes in, milliseconds. */
const RELOAD_MS = 500;

/** `#/sandboxes`: a line for each sandbox, whatever its number of traces. */
export function SandboxListPage(): JSX.Element {
  const query = new URLSearchParams();
  for (const key of ["state", "label", "vmm", "sort", "cursor"]) {
    const value = url.value.query.get(key);
    if (value !== null) query.set(key, value);
  }
  query.set("q", filter.value.sandboxWords.join(" "));
  if (/(^|\s)error(\s|$)/.test(filterText.value)) query.set("error", "true");
  const revision = useCalm(changes.value.count, RELOAD_MS);
  const loaded = useLoaded(() => data().sandboxes(query), [query.toString(), revision]);
  if (loaded === undefined) return <Empty title="Loading…" />;
  if ("error" in loaded) return <Empty title="Nothing to show">{loaded.error}</Empty>;
  const { testStart } = filter.value;
  const list = {
    ...loaded.value,
    sandboxes: loaded.value.sandboxes.filter(({ start }) => testStart(start ?? NaN) || testStart(0) && testStart(1e18)),
  };
  return (
    <>
      <div class="intro">
        <h1>Sandboxes</h1>
        <p>
          One line a sandbox, whatever number of traces it has.{" "}
          {list.store.running > 0 && `${list.store.running} running: their root span comes when they end.`}
        </p>
        <Choices list={list} />
      </div>
      {list.sandboxes.length === 0 ? <NoSandboxes isFiltered={filterText.value !== ""} /> : <Lines list={list} />}
    </>
  );
}

function NoSandboxes({ isFiltered }: { isFiltered: boolean }): JSX.Element {
  if (isFiltered) return <Empty title="No sandbox fits the filter">Press Esc in the filter to see all.</Empty>;
  return (
    <Empty title="No sandbox yet">
      <p>Turn tracing on in Kata's configuration.toml, then start a container:</p>
      <pre>{"[agent.kata]\nenable_tracing = true\n\n[runtime]\nenable_tracing = true"}</pre>
    </Empty>
  );
}

function Choices({ list }: { list: SandboxList }): JSX.Element {
  const select = (key: string, all: string, options: readonly string[]): JSX.Element | false =>
    options.length > 1 && (
      <select
        aria-label={key}
        value={url.value.query.get(key) ?? ""}
        onChange={({ currentTarget }) => change({ [key]: currentTarget.value || undefined, cursor: undefined })}
      >
        <option value="">{all}</option>
        {options.map((option) => <option value={option}>{option === "" ? "no label" : option}</option>)}
      </select>
    );
  return (
    <div class="choices">
      {select("state", "any state", ["running", "ended", "no-root"])}
      {select("label", "any label", list.labels)}
      {select("vmm", "any VMM", list.vmms)}
      {select("sort", "youngest first", ["start", "spans", "errors"])}
      <span>{list.total} {list.total === 1 ? "sandbox" : "sandboxes"}</span>
      {list.next !== undefined && (
        <button type="button" onClick={() => change({ cursor: list.next })}>
          Next page
        </button>
      )}
    </div>
  );
}

function Lines({ list }: { list: SandboxList }): JSX.Element {
  const longest = Math.max(...list.sandboxes.map(({ start }) => start ?? 0), list.p50Start ?? 0);
  const now = Date.now();
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Sandbox</th>
            <th>State</th>
            <th>VMM</th>
            <th>Pod</th>
            <th class="r">Began</th>
            <th class="r">To start</th>
            <th class="wide">
              Phases{list.p50Start !== undefined && ` (dotted: p50, ${formatDuration(list.p50Start)})`}
            </th>
            <th class="r">Spans</th>
            <th>Errors</th>
            <th class="r">Guest clock</th>
          </tr>
        </thead>
        <tbody>
          {list.sandboxes.map((one) => (
            <tr key={one.id} onClick={() => go("sandbox", one.id)}>
              <td>
                <a class="mono" href={`#/sandbox/${encodeURIComponent(one.id)}`} title={one.id}>
                  <Text limit={16}>{one.id}</Text>
                </a>
              </td>
              <td>
                <State of={one} />
              </td>
              <td>{one.vmm ?? "–"}</td>
              <td>
                <Text limit={40}>{one.pod ?? "–"}</Text>
              </td>
              <td class="r">{formatAgo(now - Number(BigInt(one.baseNs) / 1_000_000n))}</td>
              <td class="r strong">{one.start === undefined ? "–" : formatDuration(one.start)}</td>
              <td class="wide">
                <PhaseBar of={one} longest={longest} p50={list.p50Start} />
              </td>
              <td class="r">
                {one.spans}
                {one.state === "running" && "+"}
                {one.spansNotKept > 0 && <span class="bad" title="not kept">{` +${one.spansNotKept} not kept`}</span>}
              </td>
              <td class="bad">
                {one.errors > 0 && (
                  <>
                    ✗ {one.errors > 1 && `${one.errors} × `}
                    <Text limit={30}>{one.firstError ?? ""}</Text>
                  </>
                )}
              </td>
              <td class="r">
                {one.clock.state === "aligned" ? clockText(one.clock).split(" ±")[0] : clockText(one.clock)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function State({ of }: { of: SandboxSummary }): JSX.Element {
  if (of.state === "running") {
    return (
      <span>
        <span class="dot" /> running
      </span>
    );
  }
  return <span class="quiet">{of.state === "ended" ? "ended" : "ended without a root"}</span>;
}

function PhaseBar(
  { of, longest, p50 }: { of: SandboxSummary; longest: number; p50: number | undefined },
): JSX.Element | null {
  if (of.start === undefined || longest === 0) return null;
  return (
    <div class="phases">
      {of.phases.map(({ phase, name, from, to }) => (
        <i
          class={`phase-${phase}`}
          title={`${name}: ${formatDuration(to - from)}`}
          style={{ width: `${(to - from) / longest * 100}%` }}
        />
      ))}
      {p50 !== undefined && <i class="p50" style={{ left: `${p50 / longest * 100}%` }} />}
    </div>
  );
}
