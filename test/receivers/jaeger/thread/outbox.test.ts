import assert from "node:assert/strict";
import { test } from "node:test";
import type { JaegerBatch } from "../../../../src/decode/jaeger-thrift/decoder.ts";
import type { HttpConnection } from "../../../../src/http/messages.ts";
import { EncodedSpans } from "../../../../src/otlp/encoded-spans.ts";
import type { FromThread } from "../../../../src/receivers/jaeger/thread/messages.ts";
import { Outbox, sizeOf } from "../../../../src/receivers/jaeger/thread/outbox.ts";

/** What a batch of one span with a hundred bytes counts for. */
const SIZE = 100 + 6 * 4 + 256;

function connectionAt(remotePort: number): HttpConnection {
  return { remoteAddress: "127.0.0.1", remotePort, localAddress: "127.0.0.1", localPort: 14268, isOpen: true };
}

function batchOf(serviceName: string, rest: Partial<JaegerBatch> = {}): JaegerBatch {
  return { serviceName, sandboxId: undefined, noise: 0, invalid: new Map(), ...rest };
}

function oneSpan(): EncodedSpans {
  const spans = new EncodedSpans();
  spans.writer.bytes(new Uint8Array(100));
  spans.add(0, 100);
  return spans;
}

/** Messages, as short text. */
function shown(messages: readonly FromThread[]): string[] {
  return messages.map((message) => {
    switch (message.type) {
      case "connected":
        return `connected ${message.connection}`;
      case "disconnected":
        return `disconnected ${message.connection}`;
      case "batch":
        return `${message.batch.serviceName} of ${message.connection}`;
      case "dropped":
        return `dropped ${message.batches} ${message.spans} ${message.bodyBytes} ${message.noise} ` +
          JSON.stringify([...message.invalid]);
      default:
        return message.type;
    }
  });
}

function outboxOf(
  sentBytes: number,
  waitingBytes: number,
): { outbox: Outbox; posted: FromThread[]; connection: HttpConnection } {
  const posted: FromThread[] = [];
  const outbox = new Outbox((message, transfer) => posted.push(structuredClone(message, { transfer })), {
    sentBytes,
    waitingBytes,
  });
  const connection = connectionAt(1);
  return { outbox, posted, connection };
}

test("everything is sent at once and in order while it is taken", () => {
  const { outbox, posted, connection } = outboxOf(10_000, 10_000);
  outbox.connected(connection);
  const other = connectionAt(2);
  outbox.connected(other);
  for (const name of ["a", "b"]) outbox.take(batchOf(name), oneSpan(), 10, connection);
  outbox.invalid("invalid-tag", 7);
  outbox.take(batchOf("c"), oneSpan(), 10, other);
  outbox.disconnected(connection);
  assert.deepEqual(shown(posted), [
    ...["connected 0", "connected 1", "a of 0", "b of 0", "invalid", "c of 1", "disconnected 0"],
  ]);
  const [first] = posted;
  assert.ok(first?.type === "connected");
  assert.deepEqual(first.ends, {
    remoteAddress: "127.0.0.1",
    remotePort: 1,
    localAddress: "127.0.0.1",
    localPort: 14268,
  });
});

test("what is not taken waits, and goes on in order", () => {
  const { outbox, posted, connection } = outboxOf(256 + 2 * SIZE, 100 * SIZE);
  outbox.connected(connection);
  for (const name of ["a", "b", "c", "d"]) outbox.take(batchOf(name), oneSpan(), 10, connection);
  outbox.disconnected(connection);
  assert.deepEqual(shown(posted), ["connected 0", "a of 0", "b of 0"]);
  outbox.taken(sizeOf(posted[0] as FromThread) + sizeOf(posted[1] as FromThread));
  assert.deepEqual(shown(posted.slice(3)), ["c of 0", "d of 0"]);
  outbox.flush();
  assert.deepEqual(shown(posted.slice(5)), ["disconnected 0"]);
});

test("beyond its share the oldest spans are dropped, and counted with everything that came with them", () => {
  const { outbox, posted, connection } = outboxOf(256 + SIZE, 3 * SIZE);
  outbox.connected(connection);
  const odd = { noise: 2, invalid: new Map([["invalid-value", 3]] as const) };
  for (const [name, rest] of [["a", {}], ["b", odd], ["c", odd], ["d", {}], ["e", {}], ["f", {}]] as const) {
    outbox.take(batchOf(name, rest), oneSpan(), 10, connection);
  }
  outbox.disconnected(connection);
  assert.deepEqual(shown(posted), ["connected 0", "a of 0"]);
  outbox.flush();
  assert.deepEqual(shown(posted.slice(2)), [
    ...['dropped 3 3 30 4 [["invalid-value",6]]', "e of 0", "f of 0", "disconnected 0"],
  ]);
  // Told once.
  outbox.flush();
  assert.equal(posted.length, 6);
});

test("a batch that is larger than the share goes through if nothing waits", () => {
  const { outbox, posted, connection } = outboxOf(SIZE, 10);
  outbox.take(batchOf("a"), oneSpan(), 10, connection);
  outbox.flush();
  assert.deepEqual(shown(posted).filter((text) => !text.includes("connected")), ["a of 0"]);
});

test("a batch whose client has gone meanwhile has a connection that ends at once", () => {
  const { outbox, posted, connection } = outboxOf(10_000, 10_000);
  outbox.connected(connection);
  outbox.disconnected(connection);
  outbox.take(batchOf("a"), oneSpan(), 10, connection);
  assert.deepEqual(shown(posted), ["connected 0", "disconnected 0", "connected 1", "a of 1", "disconnected 1"]);
});
