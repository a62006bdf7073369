import assert from "node:assert/strict";
import { decodeRequest } from "../support/collector-stub.ts";
import { GrpcReceiver } from "../exporters/support/grpc-receiver.ts";
import { FIXTURES } from "../decode/support/fixtures.ts";
import { startForwarder } from "./support/forwarder.ts";
import { Pipeline } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { until } from "../support/until.ts";
import { test } from "./support/test.ts";
import { Guest, guestLife, Sandbox } from "./support/sandbox.ts";
import {
  assertReceived,
  ENCODINGS,
  plainFrames,
  plainIds,
  spanSet,
  spansOf,
  taken,
  takenIds,
} from "./support/spans.ts";

test("every recorded span in every encoding arrives over HTTP, field for field", async () => {
  for (const set of FIXTURES) {
    for (const encoding of ENCODINGS) {
      await using pipeline = await Pipeline.start();
      const { sandbox, stub, forwarder, host } = pipeline;
      const { stream, expected } = spanSet(set, encoding);
      await guestLife(sandbox.address, stream);
      await taken(stub, expected.length);
      assert.deepEqual(await forwarder.stop(), CLEAN);
      const strictness = encoding === "otlp" ? "lenient" : "canonical";
      assertReceived(spansOf(stub), expected, host, strictness);
    }
  }
});

test("every recorded span arrives over gRPC", async () => {
  const receiver = new GrpcReceiver();
  await receiver.start();
  using sandbox = new Sandbox();
  try {
    await using forwarder = await startForwarder([
      ...["--socket-path", sandbox.socketPath],
      ...["--otlp-endpoint", receiver.url],
      ...["--otlp-protocol", "grpc"],
    ]);
    for (const set of FIXTURES) {
      for (const encoding of ENCODINGS) {
        const { stream, expected } = spanSet(set, encoding);
        receiver.calls.length = 0;
        await guestLife(sandbox.address, stream);
        const received = () => receiver.calls.flatMap(({ body }) => decodeRequest(body));
        await until(() => received().length >= expected.length, "the spans arrive");
        assertReceived(
          received(),
          expected,
          { "service.name": "kata-agent", "kata.sandbox.id": sandbox.id, "kata.component": "agent" },
          encoding === "otlp" ? "lenient" : "canonical",
        );
      }
    }
    assert.deepEqual(await forwarder.stop(), CLEAN);
  } finally {
    await receiver.stop();
  }
});

test("each encoding that a guest uses is logged once", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub, forwarder } = pipeline;
  using guest = await Guest.connect(sandbox.address);
  for (const encoding of [...ENCODINGS, ...ENCODINGS]) {
    await guest.write(spanSet("session-isolated", encoding).stream);
  }
  await guest.end();
  await until(() => spansOf(stub).length === 6 * 36, "all spans arrive");
  assert.deepEqual(
    forwarder.recordsOf("guest's encoding").map(({ guest, encoding }) => ({ guest, encoding })),
    ENCODINGS.map((encoding) => ({ guest: sandbox.id, encoding })),
  );
});

test("spans that are sent one byte at a time arrive", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub, host } = pipeline;
  const { stream, expected } = spanSet("session-isolated", "bincode");
  using guest = await Guest.connect(sandbox.address);
  await guest.writePieces(stream, 1);
  await guest.end();
  await taken(stub, expected.length);
  assertReceived(spansOf(stub), expected, host);
});

test("spans that are sent megabytes at a time arrive in several requests", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub } = pipeline;
  using guest = await Guest.connect(sandbox.address);
  const [count, spanBytes] = [300, 30_000];
  const frames = plainFrames(1, count, spanBytes);
  assert.ok(frames.length > 8 * 1024 * 1024);
  await guest.writePieces(frames, 4 * 1024 * 1024);
  await guest.end();
  await taken(stub, count);
  assert.deepEqual(takenIds(stub), plainIds(1, count));
  // gRPC collectors refuse requests above 4 MiB by default. The forwarder's have at most 1 MiB.
  for (const { bytes } of stub.requests) assert.ok(bytes <= 1024 * 1024, `${bytes} bytes`);
});

test("the spans of a hundred guests at a time arrive", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub, forwarder } = pipeline;
  const [guests, each, rounds] = [100, 50, 4];
  const all = await Promise.all(
    Array.from({ length: guests }, () => Guest.connect(sandbox.address)),
  );
  for (let round = 0; round < rounds; round++) {
    // At any time each of them is in the middle of a frame.
    await Promise.all(all.map((guest, i) => {
      const frames = plainFrames(1 + i * each, each);
      const from = Math.floor(frames.length * round / rounds);
      const to = Math.floor(frames.length * (round + 1) / rounds);
      return guest.write(frames.subarray(from, to));
    }));
  }
  await Promise.all(all.map((guest) => guest.end()));
  await taken(stub, guests * each);
  assert.deepEqual(takenIds(stub), plainIds(1, guests * each));
  assert.deepEqual(await forwarder.stop(), CLEAN);
  const [figures] = forwarder.recordsOf("figures");
  assert.equal(figures?.["spans_received"], guests * each);
  assert.equal(figures?.["spans_forwarded"], guests * each);
  assert.equal(figures?.["guests_accepted"], guests);
});

test("guests that fail, stall or end do not disturb others", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub } = pipeline;
  using good = await Guest.connect(sandbox.address);
  using stalled = await Guest.connect(sandbox.address);
  await stalled.write(plainFrames(9001, 1).subarray(0, 50));
  using silent = await Guest.connect(sandbox.address);
  for (let i = 0; i < 50; i++) {
    using failing = await Guest.connect(sandbox.address);
    await failing.write(plainFrames(9002, 1).subarray(0, 1 + i));
    if (i % 2 === 0) failing.socket.resetAndDestroy();
    else await failing.end();
    await good.write(plainFrames(1 + i, 1));
  }
  await taken(stub, 50);
  // The stalled guest's frame continues where it stopped.
  await stalled.write(plainFrames(9001, 1).subarray(50));
  await silent.write(plainFrames(9003, 1));
  await taken(stub, 52);
  assert.deepEqual(takenIds(stub), [
    ...plainIds(1, 50),
    ...plainIds(9001, 1),
    ...plainIds(9003, 1),
  ]);
});

test("a guest at full speed does not keep another waiting", async () => {
  await using pipeline = await Pipeline.start();
  const { sandbox, stub } = pipeline;
  using flooding = await Guest.connect(sandbox.address);
  const flood = plainFrames(1_000_000, 2000);
  let isFlooding = true;
  let floods = 0;
  const flooded = (async () => {
    for (; isFlooding; floods++) await flooding.write(flood);
  })();
  using polite = await Guest.connect(sandbox.address);
  for (let i = 1; i <= 20; i++) {
    const before = floods;
    await polite.write(plainFrames(i, 1));
    await until(() => stub.taken.has(plainIds(i, 1)[0] as string), `span ${i} arrives`);
    // The other one continues all the time, but is not far ahead.
    await until(() => floods > before, "the flood goes on");
    assert.ok(floods - before < 100, `${floods - before} floods passed before span ${i}`);
  }
  isFlooding = false;
  await flooded;
});
