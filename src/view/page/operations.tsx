import type { JSX } from "preact";
import type { OperationEdge, OperationList, OperationRow } from "../api.ts";
import { formatDuration, visible } from "./format.ts";
import { Empty, Histogram, SpanLink, Text, useCalm, useLoaded } from "./parts.tsx";
import { change, changes, data, filter, url } from "./state.ts";

const PHASES = ["prepare", "vmm", "guest", "sandbox", "create", "start"] as const;
/** How often the page follows what comes in, milliseconds: statistics of many sandboxes change slowly. */
const RELOAD_MS = 3000;
/** Operations of the graph: more than these are a tangle. */
const GRAPH_OPERATIONS = 40;

/** `#/operations`: how long each operation takes over all sandboxes, as a table or as a graph of who calls whom. */
export function OperationsPage(): JSX.Element {
  const { query } = url.value;
  const asked = new URLSearchParams();
  for (const key of ["label", "phase", "group"]) {
    const value = query.get(key);
    if (value !== null) asked.set(key, value);
  }
  const revision = useCalm(changes.value.count, RELOAD_MS);
  const loaded = useLoaded(() => data().operations(asked), [asked.toString(), revision]);
  if (loaded === undefined) return <Empty title="Loading…" />;
  if ("error" in loaded) return <Empty title="Nothing to show">{loaded.error}</Empty>;
  const list = loaded.value;
  const { test } = filter.value;
  const rows = test === undefined ? list.rows : list.rows.filter((row) =>
    test({
      name: row.name,
      side: row.side,
      error: row.errors > 0,
      duration: row.p50,
      self: row.self / Math.max(1, row.count),
    })
  );
  const isGraph = query.get("as") === "graph";
  return (
    <>
      <div class="intro">
        <h1>Operations</h1>
        <p>
          How long each operation takes over all sandboxes. Those whose own time holds starts up most come first: what a
          start would gain if the operation cost nothing.
        </p>
        <Choices list={list} isGraph={isGraph} />
      </div>
      {rows.length === 0
        ? <NoOperations isFiltered={test !== undefined} />
        : isGraph
        ? <Graph list={list} />
        : <Table rows={rows} />}
    </>
  );
}

function NoOperations({ isFiltered }: { isFiltered: boolean }): JSX.Element {
  return isFiltered
    ? <Empty title="No operation fits the filter">Press Esc in the filter to see all.</Empty>
    : <Empty title="No operations yet">They appear with the spans of the first sandbox.</Empty>;
}

function Choices({ list, isGraph }: { list: OperationList; isGraph: boolean }): JSX.Element {
  const { query } = url.value;
  return (
    <div class="choices">
      {list.labels.length > 1 && (
        <select
          aria-label="label"
          value={query.get("label") ?? ""}
          onChange={({ currentTarget }) => change({ label: currentTarget.value || undefined })}
        >
          <option value="">all labels</option>
          {list.labels.filter((label) => label !== "").map((label) => <option value={label}>{label}</option>)}
        </select>
      )}
      <select
        aria-label="phase"
        value={query.get("phase") ?? ""}
        onChange={({ currentTarget }) => change({ phase: currentTarget.value || undefined })}
      >
        <option value="">whole sandbox</option>
        {PHASES.map((phase) => <option value={phase}>{phase}</option>)}
      </select>
      <label>
        grouped by{" "}
        <input
          type="text"
          placeholder="attribute, such as subsystem"
          value={query.get("group") ?? ""}
          onChange={({ currentTarget }) => change({ group: currentTarget.value || undefined })}
        />
      </label>
      <button type="button" aria-pressed={isGraph} onClick={() => change({ as: isGraph ? undefined : "graph" })}>
        {isGraph ? "Table" : "Graph"}
      </button>
    </div>
  );
}

function Table({ rows }: { rows: readonly OperationRow[] }): JSX.Element {
  const isGrouped = rows.some(({ group }) => group !== undefined);
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Operation</th>
            {isGrouped && <th>Group</th>}
            <th>Side</th>
            <th class="r">Spans</th>
            <th class="r">Sandboxes</th>
            <th class="r">p50</th>
            <th class="r">p95</th>
            <th class="r">p99</th>
            <th class="r">Total</th>
            <th class="r">Self</th>
            <th class="r" title="The share of all starts in which nothing else was waited for">Of the start</th>
            <th>Distribution</th>
            <th>Errors</th>
            <th>Slowest</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={`${row.side} ${row.name} ${row.group ?? ""}`}>
              <td class="strong">
                <Text limit={60}>{row.name}</Text>
              </td>
              {isGrouped && (
                <td class="mono">
                  <Text limit={40}>{row.group === "" ? "–" : row.group ?? ""}</Text>
                </td>
              )}
              <td>
                <i class={`box fill-${row.side}`} /> {row.side === "nobody" ? "nobody" : row.side}
              </td>
              <td class="r">{row.count}</td>
              <td class="r">{row.sandboxes}</td>
              <td class="r">{formatDuration(row.p50)}</td>
              <td class="r">{formatDuration(row.p95)}</td>
              <td class="r">{formatDuration(row.p99)}</td>
              <td class="r">{formatDuration(row.total)}</td>
              <td class="r">{formatDuration(row.self)}</td>
              <td class="r strong">{row.ofStart === undefined ? "–" : `${(row.ofStart * 100).toFixed(1)} %`}</td>
              <td class="chart">
                <Histogram of={row} side={row.side} height={20} />
              </td>
              <td class="bad">{row.errors > 0 && `✗ ${row.errors}`}</td>
              <td>
                {row.slowest !== undefined && (
                  <SpanLink of={row.slowest}>{formatDuration(row.slowest.duration)}</SpanLink>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface Node {
  readonly row: OperationRow;
  readonly index: number;
  readonly level: number;
  readonly place: number;
}

const NODE_WIDTH = 210;
const NODE_HEIGHT = 34;
const LEVEL_WIDTH = 280;
/** Of a name in a node. SVG's text isolates no directions, but what could reorder it has been made visible. */
const NODE_CHARACTERS = 28;

/** Who calls whom: operations by their level in the tree, edges as thick as the time that was spent over them. */
function Graph({ list }: { list: OperationList }): JSX.Element {
  const nodes = layOut(list);
  const most = Math.max(...list.edges.map(({ total }) => total), 1);
  const width = (Math.max(...[...nodes.values()].map(({ level }) => level), 0) + 1) * LEVEL_WIDTH;
  const height = (Math.max(...[...nodes.values()].map(({ place }) => place), 0) + 1) * (NODE_HEIGHT + 12) + 20;
  const x = ({ level }: Node): number => level * LEVEL_WIDTH + 10;
  const y = ({ place }: Node): number => place * (NODE_HEIGHT + 12) + 10;
  /** Labels of several edges to one operation would be on top of each other. */
  const largest = new Map<number, OperationEdge>();
  for (const edge of list.edges) {
    if (nodes.has(edge.from) && edge.from !== edge.to && edge.total > (largest.get(edge.to)?.total ?? -1)) {
      largest.set(edge.to, edge);
    }
  }
  const isLargest = (edge: OperationEdge): boolean => largest.get(edge.to) === edge;
  return (
    <div class="scroll" tabIndex={0} aria-label="Graph of operations">
      <svg class="graph" width={width} height={height} role="img" aria-label="who calls whom">
        {list.edges.map((edge: OperationEdge) => {
          const from = nodes.get(edge.from);
          const to = nodes.get(edge.to);
          if (from === undefined || to === undefined || from === to) return null;
          const [x1, y1, x2, y2] = [x(from) + NODE_WIDTH, y(from) + NODE_HEIGHT / 2, x(to), y(to) + NODE_HEIGHT / 2];
          return (
            <g>
              <path
                class="edge"
                d={`M${x1},${y1} C${x1 + 35},${y1} ${x2 - 35},${y2} ${x2},${y2}`}
                stroke-width={1 + 7 * edge.total / most}
              />
              <title>
                {`${visible(from.row.name)} → ${visible(to.row.name)}: ${edge.count} ×, ${formatDuration(edge.total)}`}
              </title>
              {isLargest(edge) && (
                <text x={x2 - 4} y={y2 - 5} text-anchor="end">{edge.count}× {formatDuration(edge.total)}</text>
              )}
            </g>
          );
        })}
        {[...nodes.values()].map((node) => (
          <g>
            <rect class="under" x={x(node)} y={y(node)} width={NODE_WIDTH} height={NODE_HEIGHT} rx="4" />
            <rect
              class={`node fill-${node.row.side}`}
              x={x(node)}
              y={y(node)}
              width={NODE_WIDTH}
              height={NODE_HEIGHT}
              rx="4"
            />
            <text class="title" x={x(node) + 8} y={y(node) + 14}>{visible(node.row.name, NODE_CHARACTERS)}</text>
            <text x={x(node) + 8} y={y(node) + 28}>
              {node.row.count}× p50 {formatDuration(node.row.p50)} self {formatDuration(node.row.self)}
            </text>
          </g>
        ))}
      </svg>
    </div>
  );
}

/** The level of an operation is one more than the lowest of those that call it; circles end at what is known by then. */
function layOut({ rows, edges }: OperationList): ReadonlyMap<number, Node> {
  const shown = new Set(
    rows.map((_, index) => index).filter((index) => rows[index]?.side !== "nobody").slice(0, GRAPH_OPERATIONS),
  );
  const callers = new Map<number, number[]>();
  for (const { from, to } of edges) {
    if (shown.has(from) && shown.has(to) && from !== to) callers.set(to, [...callers.get(to) ?? [], from]);
  }
  const levels = new Map<number, number>([...shown].filter((index) => !callers.has(index)).map((index) => [index, 0]));
  for (let round = 0; round < shown.size && levels.size < shown.size; round++) {
    for (const index of shown) {
      if (levels.has(index)) continue;
      const known = (callers.get(index) ?? []).flatMap((caller) => levels.get(caller) ?? []);
      if (known.length > 0) levels.set(index, Math.min(...known) + 1);
    }
  }
  const places = new Map<number, number>();
  const nodes = new Map<number, Node>();
  for (const index of shown) {
    const level = levels.get(index) ?? 0;
    const place = places.get(level) ?? 0;
    places.set(level, place + 1);
    nodes.set(index, { row: rows[index] as OperationRow, index, level, place });
  }
  return nodes;
}
