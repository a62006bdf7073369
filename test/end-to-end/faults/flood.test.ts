import assert from "node:assert/strict";
import process from "node:process";
import { hostileStreams, plainJson } from "../../hostile/payloads.ts";
import { startForwarder } from "../../process/support/forwarder.ts";
import { Sandbox } from "../../process/support/sandbox.ts";
import { test } from "../../process/support/test.ts";
import { spanId } from "../../support/numbers.ts";
import { until } from "../../support/until.ts";
import { assertEquation } from "./support/equation.ts";
import { HostileGuests } from "./support/hostile-guests.ts";
import { LeanCollector } from "./support/lean-collector.ts";
import { LoadGuest } from "./support/load.ts";
import { percentile, report } from "./support/report.ts";

/** What the well-behaved guest of another sandbox sends beside each flood, a span at a time. */
const GOOD = { frames: 1, everyMs: 10, bytes: 300 };
const GOOD_SPANS = 150;
/** How far apart ids of the guests beside two floods are. */
const IDS = 1_000_000;
const CLEAN = { code: 0, signal: null };

/**
 * Streams that differ in what is costly about them; `KTF_FLOODS` names others by a part of their names, and `all` means
 * all that there are.
 */
const FLOODS = [
  "plain JSON",
  "plain bincode",
  "JSON: an array of small numbers",
  "bincode: 300 attributes of the resource",
  "OTLP: small frames with a resource each",
  "OTLP: one ResourceSpans a span",
  "OTLP: empty ScopeSpans",
  "OTLP: empty resource attributes",
  "OTLP: unknown fields",
  "small JSON, bincode and OTLP by turns",
  "refused: small bincode with a byte too many",
  "headers inside of headers",
  "garbage",
];
/** Of one guest, all as fast as they are read. */
const CONNECTIONS = 8;
const MANY_CONNECTIONS = 500;

const asked = process.env["KTF_FLOODS"];
const names = [plainJson(), ...hostileStreams()].map(({ name }) => name)
  .filter((name) => asked === undefined ? FLOODS.includes(name) : asked === "all" || name.includes(asked));

const CASES = [
  ...names.map((name) => ({ name, connections: CONNECTIONS })),
  ...(asked === undefined ? ["plain JSON", "garbage"] : []).map((name) => ({ name, connections: MANY_CONNECTIONS })),
];

test("one guest sends anything as fast as it can: another loses nothing, and is not disconnected", async () => {
  using good = new Sandbox();
  using bad = new Sandbox();
  await using collector = await LeanCollector.start(good.id);
  await using forwarder = await startForwarder([
    ...["--socket-path", good.socketPath, "--socket-path", bad.socketPath, "--metrics", "0"],
    ...["--otlp-endpoint", collector.url],
  ]);
  let first = 1;
  const slowest = { name: "", p99: 0 };
  for (const { name, connections } of CASES) {
    await using flood = await HostileGuests.start(`stream:${name}`, bad.address, first, connections);
    const guest = new LoadGuest(good.address, first, GOOD);
    first += IDS;
    await until(() => guest.count() >= GOOD_SPANS, `${name}: the well-behaved guest writes`);
    await guest.stop();
    const missing = (): string[] => guest.ids().filter((id) => !collector.arrivals.has(id));
    await until(() => missing().length === 0, `${name}: all spans of the well-behaved guest arrive`);
    assert.equal(guest.connections, 1, name);
    assert.ok(flood.running, name);
    const times = guest.written.map(({ first: id, at }) =>
      Math.max(0, (collector.arrivals.get(spanId(id)) ?? NaN) - at)
    );
    const { bytes, cut } = await flood.stop();
    const p99 = percentile(times, 0.99);
    if (p99 > slowest.p99) Object.assign(slowest, { name, p99 });
    report(`beside ${name} on ${connections} connections`, {
      p50: `${percentile(times, 0.5)} ms`,
      p99: `${p99} ms`,
      MB: Math.round(bytes / 1e6),
      "cut off": cut,
    });
  }
  report("the slowest", { p99: `${slowest.p99} ms`, beside: slowest.name });
  await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
  assert.deepEqual(await forwarder.stop(), CLEAN);
});
