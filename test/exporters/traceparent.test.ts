import assert from "node:assert/strict";
import { test } from "node:test";
import type { Exporter } from "../../src/pipeline/exporter.ts";
import { createExporter } from "../../src/exporters/create-exporter.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { withEnvironment } from "./support/environment.ts";
import { GrpcReceiver } from "./support/grpc-receiver.ts";
import { HttpReceiver } from "./support/http-receiver.ts";
import { CountingTrace } from "./support/request-trace.ts";

/** What arrived: the body's one byte, which numbers the request, and its trace. */
type Arrived = [number | undefined, unknown];

/** Sends requests with and without a trace, one after the other through one slot, then several at once. */
async function exchange(exporter: Exporter): Promise<void> {
  const [first, second] = [new CountingTrace(1), new CountingTrace(2)];
  await exporter.send([Uint8Array.of(1)], undefined, first);
  await exporter.send([Uint8Array.of(2)], undefined, second);
  await exporter.send([Uint8Array.of(3)]);
  const traces = [4, 5, 6, 7].map((number) => new CountingTrace(number));
  await Promise.all(
    traces.map((trace, i) => exporter.send([Uint8Array.of(4 + i)], undefined, trace)),
  );
  exporter.close();
  assert.deepEqual([first, second, ...traces].map(({ tries }) => tries), [1, 1, 1, 1, 1, 1]);
}

/** Each request must have its own trace, and the one without must have none. */
function assertArrived(arrived: readonly Arrived[]): void {
  assert.deepEqual(
    arrived.toSorted(([a], [b]) => (a ?? 0) - (b ?? 0)),
    [1, 2, 3, 4, 5, 6, 7].map((number) => [
      number,
      number === 3 ? undefined : new CountingTrace(number).traceparent,
    ]),
  );
}

test("http/protobuf: each request carries its own trace, none where it has none", async () => {
  const receiver = new HttpReceiver();
  await receiver.listen();
  try {
    await exchange(
      await withEnvironment(
        { HEADERS: "a=1" },
        () => createExporter({ protocol: "http/protobuf", url: receiver.url }, new RecordingLogger()),
      ),
    );
    assertArrived(receiver.requests.map(({ body, headers }) => [body[0], headers["traceparent"]]));
    assert.ok(receiver.requests.every(({ headers }) => headers["a"] === "1"));
  } finally {
    await receiver.close();
  }
});

test("http/protobuf: a request that is sent again at once carries the same trace both times", async () => {
  const receiver = new HttpReceiver();
  await receiver.listen();
  try {
    const exporter = await createExporter({ protocol: "http/protobuf", url: receiver.url }, new RecordingLogger());
    await exporter.send([Uint8Array.of(1)]);
    receiver.answer = (response, { socket }) => {
      if (receiver.requests.length === 2) socket.destroy();
      else response.end();
    };
    const trace = new CountingTrace(9);
    assert.equal((await exporter.send([Uint8Array.of(2)], undefined, trace)).kind, "success");
    exporter.close();
    assert.deepEqual(
      receiver.requests.map(({ headers }) => headers["traceparent"]),
      [undefined, trace.traceparent, trace.traceparent],
    );
    assert.equal(trace.tries, 2);
  } finally {
    await receiver.close();
  }
});

test("grpc: each request carries its own trace, none where it has none", async () => {
  const receiver = new GrpcReceiver();
  await receiver.start();
  try {
    await exchange(
      await withEnvironment(
        { HEADERS: "a=1" },
        () => createExporter({ protocol: "grpc", url: receiver.url }, new RecordingLogger()),
      ),
    );
    assertArrived(receiver.calls.map(({ body, metadata }) => [body[0], metadata["traceparent"]]));
    assert.ok(receiver.calls.every(({ metadata }) => metadata["a"] === "1"));
  } finally {
    await receiver.stop();
  }
});
