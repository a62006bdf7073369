import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { SpanRecord } from "../../../src/otlp/span-record.ts";
import { spansToOtlpJson } from "../../../src/record/write-otlp-json.ts";
import type * as api from "../../../src/view/api.ts";
import { startCollector } from "../../collector/collector.ts";
import { type Jaeger, startJaeger } from "../../collector/jaeger.ts";
import type { ReceivedSpan } from "../../collector/spans.ts";
import { REAL_STREAMS, streamBytes } from "../../decode/support/recorded-streams.ts";
import { runToEnd } from "../../process/support/process.ts";
import { agentRecords, madeUp, runtimeRecords } from "../../store/support.ts";
import { Forwarder } from "../support/forwarder.ts";
import { PATIENCE, program, Workshop } from "../support/programs.ts";

const workshop = new Workshop();
after(() => workshop.close());

/** Sandboxes of each label; each is as many traces as it has spans, so Jaeger has more than it returns at once. */
const COHORT = 30;
const TRACES_OF_A_SANDBOX = 12;
const LABELS = [["kata-4.0", 1], ["kata-4.1", 1.4]] as const;
const SANDBOX = "61770081df53a60a0ecbb336f4e3cec061770081df53a60a0ecbb336f4e3cec0";

/** What somebody has called an agent with `--trace-name`. */
const OWN_SERVICE = "fleet-agent";
const OWN_SANDBOX = "a-sandbox-of-the-fleet";

/** Recorded some time ago; Jaeger is asked for what is recent. */
function recent(records: readonly SpanRecord[]): SpanRecord[] {
  const first = records.reduce((least, { startTimeUnixNano }) => {
    return BigInt(startTimeUnixNano) < least ? BigInt(startTimeUnixNano) : least;
  }, 2n ** 63n);
  const later = BigInt(Date.now() - 3_600_000) * 1_000_000n - first;
  return records.map((record) => ({
    ...record,
    startTimeUnixNano: String(BigInt(record.startTimeUnixNano) + later),
    endTimeUnixNano: String(BigInt(record.endTimeUnixNano) + later),
  }));
}

/** Sandboxes of two labels, in one of which the container's creation takes longer. */
function cohorts(): SpanRecord[] {
  return LABELS.flatMap(([label, factor], cohort) =>
    Array.from({ length: COHORT }, (_, i) => {
      const resource = {
        "service.name": "kata-agent",
        "kata.sandbox.id": `${label}-${i}`,
        "kata.label": label,
        "kata.component": "agent",
        "k8s.node.name": `node-${i % 3}`,
      };
      return Array.from({ length: TRACES_OF_A_SANDBOX }, (_, at) => {
        const id = (cohort * COHORT + i) * TRACES_OF_A_SANDBOX + at + 1;
        const from = at * 1e7;
        const name = ["create_sandbox", "create_container", "start_container"][at] ?? `rpc_${at}`;
        const took = name === "create_container" ? factor * 6e6 : 5e6;
        return madeUp({ id, trace: id, name, from, to: from + Math.round(took * (1 + i / 100)) }, resource);
      });
    }).flat()
  );
}

/** Sends spans with `replay`; returns the file that it has read. */
async function replay(jaeger: Jaeger, file: string, spans: readonly SpanRecord[]): Promise<string> {
  writeFileSync(file, `${spansToOtlpJson(spans)}\n`);
  const endpoint = `http://127.0.0.1:${jaeger.httpPort}`;
  const { stdout, stderr, code } = await runToEnd(["replay", file, "--otlp-endpoint", endpoint]);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `${spans.length} spans sent to ${endpoint}/v1/traces\n`);
  return file;
}

function sandboxes(): SpanRecord[] {
  const [session] = REAL_STREAMS.filter(({ file }) => file.includes("4.1.0-session.json"));
  assert.ok(session !== undefined);
  const agent = { "service.name": "kata-agent" };
  return [
    ...recent([...runtimeRecords("go-session"), ...runtimeRecords("collated-agent", agent)]),
    ...recent(runtimeRecords("rust-session")),
    ...recent(agentRecords(session, { ...agent, "kata.sandbox.id": SANDBOX, "kata.component": "agent" })),
    ...recent(cohorts()),
  ];
}

async function drawing(...source: string[]): Promise<string> {
  const { stdout, stderr, code } = await runToEnd(["view", "--terminal", ...source]);
  assert.equal(code, 0, stderr);
  return stdout;
}

test("a real Jaeger shows, compares and downloads what was sent to it", PATIENCE, async () => {
  const directory = await workshop.folder();
  const jaeger = workshop.add(await startJaeger({ binary: program("KTF_JAEGER"), directory }));
  const url = `http://127.0.0.1:${jaeger.queryPort}`;

  const empty = await runToEnd(["view", "--from", url, "--terminal"]);
  assert.deepEqual(
    [empty.code, empty.stderr],
    [
      1,
      `kata-trace-forwarder: ${url}: none of its services is Kata's (kata, kata-agent, kata-sb-…): no service at all\n`,
    ],
  );

  const file = await replay(jaeger, join(directory, "spans.jsonl"), sandboxes());
  const own = { "service.name": OWN_SERVICE, "kata.sandbox.id": OWN_SANDBOX, "kata.component": "agent" };
  await replay(jaeger, join(directory, "own.jsonl"), recent([madeUp({ id: 1, trace: 2 ** 40 }, own)]));
  // A span that ends before it begins lasts 1 ns in Jaeger.
  const of = (text: string): string[] => text.replaceAll(" 1 ns", " 0 ns").split("\n\n").sort();
  const fromFile = of(await drawing(file));
  // Each sandbox looks exactly the same, however many questions it took to get all of its traces.
  assert.deepEqual(of(await drawing("--from", url)), fromFile);
  assert.equal(fromFile.length, 3 + LABELS.length * COHORT);
  for (
    const about of ["ended, 42 spans in 1 trace", "ended, 95 spans in 27 traces", "ended without a root, 81 spans"]
  ) {
    assert.equal(fromFile.filter((sandbox) => sandbox.includes(`\n${about}`)).length, 1, about);
  }

  const words = ["compare", "kata-4.0", "kata-4.1", "--from", url];
  const { code, stdout } = await runToEnd([...words, "--json"]);
  assert.equal(code, 3);
  const comparison = JSON.parse(stdout) as api.Comparison;
  assert.deepEqual(comparison.a, { label: "kata-4.0", sandboxes: COHORT });
  const verdicts = new Map(comparison.rows.map(({ name, verdict, change }) => [name, { verdict, change }]));
  assert.equal(verdicts.get("create_container")?.verdict, "slower");
  assert.ok(Math.abs((verdicts.get("create_container")?.change ?? 0) - 0.4) < 1e-6);
  assert.equal(verdicts.get("create_sandbox")?.verdict, "same");
  assert.equal((await runToEnd([...words, "--fail-if", "p50>+50%"])).code, 0);
  const unknown = await runToEnd(["compare", "kata-4.0", "nothing", "--from", url]);
  assert.match(unknown.stderr, /no sandbox has the label "nothing"; there are: kata-4\.0, kata-4\.1\n$/);
  // Any resource attribute can tell cohorts apart, such as the nodes of a fleet.
  const nodes = await runToEnd(["compare", "node-0", "node-1", "--from", url, "--label-by", "k8s.node.name"]);
  assert.match(nodes.stdout, /^node-1 \(20 sandboxes\) against node-0 \(20\)\n/);

  // A service that is not called as Kata's are is read if it is named; of Kata's own, only those that are named.
  const asked = ["view", "--terminal", "--from", url];
  const mine = await runToEnd([...asked, "--service", OWN_SERVICE]);
  assert.deepEqual([mine.code, mine.stdout.split("\n", 1)], [0, [`sandbox ${OWN_SANDBOX}`]], mine.stderr);
  const two = await runToEnd([...asked, "--service", OWN_SERVICE, "--service", "kata"]);
  const ids = (text: string): string[] => [...text.matchAll(/^sandbox (\S+)/gm)].map(([, id = ""]) => id).sort();
  assert.deepEqual(ids(two.stdout), ["0".repeat(48) + "40507b35c8cfdf40", OWN_SANDBOX]);
  const missing = await runToEnd([...asked, "--service", "kata", "--service", "x"]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /^kata-trace-forwarder: \S+: has no service x; there are: .*kata-agent.*\n$/);

  // What Jaeger's own page has under "Download" (its API v2).
  const download = join(directory, "jaeger.json");
  const traces = await fetch(`${url}/api/traces?service=kata-agent&limit=5000&lookback=2h`);
  writeFileSync(download, await traces.text());
  // Its times are whole microseconds, so not everything looks exactly the same.
  const heads = (sandboxes: readonly string[]): string[] => sandboxes.map((one) => one.split("\n", 2).join("\n"));
  const downloaded = heads(of(await drawing(download)));
  for (const head of heads(fromFile.filter((one) => one.includes(SANDBOX)))) assert.ok(downloaded.includes(head), head);
});

test("what the Collector's file exporter writes opens as what was sent to the Collector", PATIENCE, async () => {
  const directory = await workshop.folder();
  const collector = workshop.add(await startCollector({ binary: program("KTF_OTELCOL"), directory }));
  const [session] = REAL_STREAMS.filter(({ file }) => file.includes("3.28.0-session.bincode"));
  assert.ok(session !== undefined);
  const sent = agentRecords(session, { "service.name": "kata-agent", "kata.sandbox.id": SANDBOX });
  const file = join(directory, "sent.jsonl");
  writeFileSync(file, `${spansToOtlpJson(sent)}\n`);
  const endpoint = `http://127.0.0.1:${collector.grpcPort}`;
  const replay = await runToEnd(["replay", file, "--otlp-endpoint", endpoint, "--otlp-protocol", "grpc"]);
  assert.equal(replay.stdout, `${sent.length} spans sent to ${endpoint}\n`, replay.stderr);
  await collector.waitForSpans(sent.length);
  assert.equal(await drawing(join(directory, "spans.jsonl")), await drawing(file));
});

test("the Collector reads back what --record has written", PATIENCE, async () => {
  const directory = await workshop.folder();
  const [one, other] = [await workshop.folder(), await workshop.folder()];
  const collector = workshop.add(await startCollector({ binary: program("KTF_OTELCOL"), directory: one }));
  const [session] = REAL_STREAMS.filter(({ file }) => file.includes("4.1.0-session.json"));
  assert.ok(session !== undefined);
  const file = join(directory, "record.jsonl");
  const endpoint = ["--otlp-endpoint", `http://127.0.0.1:${collector.httpPort}`];
  const sandbox = "a-sandbox";
  const forwarder = await Forwarder.start({ directory, sandbox, arguments: [...endpoint, "--record", file] });
  await forwarder.write(streamBytes(session));
  await collector.waitForSpans(session.spans);
  assert.equal(await forwarder.stop(), "exited with 0");
  // Its receiver of OTLP/JSON over HTTP decodes with the code of its file receiver.
  const second = workshop.add(await startCollector({ binary: program("KTF_OTELCOL"), directory: other }));
  for (const body of readFileSync(file, "utf8").trimEnd().split("\n")) {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`http://127.0.0.1:${second.httpPort}/v1/traces`, { method: "POST", headers, body });
    assert.equal(answer.status, 200, await answer.text());
  }
  const byId = (spans: readonly ReceivedSpan[]): ReceivedSpan[] =>
    spans.toSorted((a, b) => `${a.traceId}${a.spanId}` < `${b.traceId}${b.spanId}` ? -1 : 1);
  assert.deepEqual(byId(await second.waitForSpans(session.spans)), byId(await collector.spans()));
});
