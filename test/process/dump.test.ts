import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { listen } from "../support/ports.ts";
import { until } from "../support/until.ts";
import { encodeBincode } from "../decode/support/bincode-encoder.ts";
import { FIXTURES, frame } from "../decode/support/fixtures.ts";
import { type AttributeRecord, type EventRecord, type OtlpRecord, sortedByKey } from "../decode/support/span-record.ts";
import { startForwarder } from "./support/forwarder.ts";
import { CLEAN, LOST, Running } from "./support/process.ts";
import { Guest, guestLife, Sandbox } from "./support/sandbox.ts";
import { SlowReader } from "./support/slow-reader.ts";
import {
  assertRecords,
  ENCODINGS,
  hostAttributes,
  plainFrames,
  plainIds,
  plainRecord,
  spanSet,
} from "./support/spans.ts";
import { test } from "./support/test.ts";

/** A line of the dump, with OTLP/JSON's names. */
type DumpedSpan = Omit<OtlpRecord, "traceFlags" | "links" | "resource"> & {
  readonly flags: number;
  readonly links: readonly {
    readonly traceId: string;
    readonly spanId: string;
    readonly traceState: string;
    readonly attributes: AttributeRecord[];
    readonly droppedAttributesCount: number;
    readonly flags: number;
  }[];
  readonly events: EventRecord[];
  readonly resource: { readonly attributes: AttributeRecord[] };
  readonly scope: unknown;
};

/** `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK` of trace.proto; the low 8 bits are the W3C trace flags. */
const IS_REMOTE = 0x200;

function asOtlpRecord({ flags, links, resource, scope: _, ...rest }: DumpedSpan): OtlpRecord {
  return {
    ...rest,
    attributes: sortedByKey(rest.attributes),
    traceFlags: flags & 0xff,
    links: links.map(({ flags, ...link }) => ({
      ...link,
      traceFlags: flags & 0xff,
      isRemote: (flags & IS_REMOTE) !== 0,
    })),
    resource: sortedByKey(resource.attributes),
  };
}

test("each span is one line of JSON that means what was sent, and the log is on standard error", async () => {
  for (const set of FIXTURES) {
    for (const encoding of ENCODINGS) {
      using sandbox = new Sandbox();
      await using forwarder = await startForwarder([
        ...["--socket-path", sandbox.socketPath],
        "--dump-only",
      ]);
      const { stream, expected } = spanSet(set, encoding);
      await guestLife(sandbox.address, stream);
      await forwarder.record("guest gone");
      assert.deepEqual(await forwarder.stop(), CLEAN);
      const lines = forwarder.stdout.split("\n");
      assert.equal(lines.pop(), "");
      const dumped = lines.map((line) => asOtlpRecord(JSON.parse(line) as DumpedSpan));
      const host = { "service.name": "kata-agent", "kata.sandbox.id": sandbox.id, "kata.component": "agent" };
      assertRecords(dumped, expected, host);
      const [figures] = forwarder.recordsOf("figures");
      assert.equal(figures?.["spans_forwarded"], expected.length);
    }
  }
});

test("text output makes a guest's strings harmless", async () => {
  using sandbox = new Sandbox();
  await using forwarder = new Running([
    ...["--socket-path", sandbox.socketPath],
    ...["--dump-only", "--log-format", "text", "--trace-name", "traced"],
  ]);
  await until(() => forwarder.stderr.includes(" INFO listening "), "it listens");
  const hostile = {
    ...plainRecord(0x2a),
    name: "red\x1b[31m\r\nspan\u202e",
    parentSpanId: "00000000000000aa",
    attributes: [{ key: "k\x07", value: { stringValue: 'say "hi"\x9b2J' } }],
    status: { code: 2, message: "failed" },
    resource: hostAttributes({ "own": "kept" }),
  };
  await guestLife(sandbox.address, frame(encodeBincode(hostile)));
  await until(() => forwarder.stdout.endsWith("\n\n"), "the span is shown");
  forwarder.kill();
  assert.deepEqual(await forwarder.exited, CLEAN);
  assert.equal(
    forwarder.stdout,
    String.raw`span red\u{1b}[31m\u{d}\u{a}span\u{202e}
  trace 0af7651916cd43dd8448eb211c80319c  span 000000000000002a  parent 00000000000000aa
  kind internal  status error "failed"
  start 2023-11-14T22:13:20.000000001Z
  end   2023-11-14T22:13:20.000000002Z  (0.000000001 s)
  flags 0x01 sampled  trace state ""
  attributes 1
    k\u{7} = "say \"hi\"\u{9b}2J"
  events 0
  links 0
  scope ""  version ""  schema ""
    attributes 0
  resource  schema ""
    attributes 4
      own = "kept"
      service.name = "traced"
      kata.sandbox.id = "${sandbox.id}"
      kata.component = "agent"

`,
  );
});

test("a reader that goes away ends the dump, which says what was lost and leaves no socket behind", async () => {
  using sandbox = new Sandbox();
  using reader = new SlowReader(sandbox);
  await using forwarder = await startForwarder(
    ["--socket-path", sandbox.socketPath, "--dump-only"],
    { stdout: reader.writeEnd },
  );
  using guest = await Guest.connect(sandbox.address);
  await guest.write(plainFrames(1, 1));
  await until(() => (reader.read(), reader.text.endsWith("\n")), "the first span is shown");
  reader.close();
  await guest.write(plainFrames(2, 3));
  assert.deepEqual(await forwarder.exited, LOST);
  const { error } = await forwarder.record("standard output takes no more spans: ending");
  assert.match(String(error), /EPIPE|Broken pipe/);
  assert.equal(forwarder.recordsOf("stopped")[0]?.["lost"], 3);
  assert.equal(existsSync(sandbox.address), false);
});

test("while the reader does not read, guests are not read, and nothing is lost", async () => {
  using sandbox = new Sandbox();
  using reader = new SlowReader(sandbox);
  await using forwarder = await startForwarder(
    ["--socket-path", sandbox.socketPath, "--dump-only", "--metrics", "0"],
    { stdout: reader.writeEnd },
  );
  using guest = await Guest.connect(sandbox.address);
  const count = 400;
  const frames = plainFrames(1, count, 20_000);
  const written = guest.write(frames).then(() => guest.end());
  await until(async () => await forwarder.metric("backpressure_pauses_total") > 0, "it pauses");
  // It still responds, and does not read into its memory.
  const { received, forwarded, held } = await forwarder.figures();
  assert.equal(received, forwarded + held);
  assert.ok(held > 0 && received < count / 2, `${received} of ${count} spans were read`);
  await until(() => {
    reader.read();
    return reader.text.split("\n").length > count;
  }, "all spans are shown");
  await written;
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const ids = reader.text.trimEnd().split("\n")
    .map((line) => (JSON.parse(line) as { spanId: string }).spanId);
  assert.deepEqual(ids, plainIds(1, count));
});

test("a signal ends it while the reader does not read", async () => {
  using sandbox = new Sandbox();
  using reader = new SlowReader(sandbox);
  await using forwarder = await startForwarder(
    [
      ...["--socket-path", sandbox.socketPath, "--dump-only"],
      ...["--metrics", "0", "--shutdown-timeout", "200ms"],
    ],
    { stdout: reader.writeEnd },
  );
  using guest = await Guest.connect(sandbox.address);
  // More than fits into a pipe (64 KiB), but less than fits into a socket.
  await guest.write(plainFrames(1, 4, 30_000));
  await until(async () => (await forwarder.figures()).held > 0, "the pipe is full");
  assert.deepEqual(await forwarder.stop(), LOST);
  const [figures] = forwarder.recordsOf("figures");
  const lost = Number(figures?.["spans_dropped.shutdown"]);
  assert.equal(lost, forwarder.recordsOf("stopped")[0]?.["lost"]);
  assert.equal(figures?.["spans_received"], Number(figures?.["spans_forwarded"]) + lost);
});

test("no collector is needed", async () => {
  using sandbox = new Sandbox();
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  const port = await listen(server);
  await using forwarder = await startForwarder([
    ...["--socket-path", sandbox.socketPath, "--dump-only"],
    ...["--otlp-endpoint", `http://127.0.0.1:${port}`],
  ]);
  await guestLife(sandbox.address, plainFrames(1, 3));
  await until(() => forwarder.stdout.split("\n").length === 4, "three spans are shown");
  assert.deepEqual(await forwarder.stop(), CLEAN);
  assert.equal(connections, 0);
  await new Promise((resolve) => server.close(resolve));
});
