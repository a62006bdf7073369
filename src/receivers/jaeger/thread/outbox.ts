import { Fifo } from "../../../base/fifo.ts";
import type { JaegerBatch } from "../../../decode/jaeger-thrift/decoder.ts";
import type { HttpConnection } from "../../../http/messages.ts";
import { countPacked, type EncodedSpans } from "../../../otlp/encoded-spans.ts";
import type { InvalidReason } from "../../../pipeline/invalid-reason.ts";
import type { JaegerBatches } from "../endpoint.ts";
import type { BatchMessage, DroppedMessage, FromThread } from "./messages.ts";

const MEBIBYTE = 1024 * 1024;

/** How much may be on its way or wait, bytes. */
export interface OutboxLimits {
  /** Sent and not yet taken: what has been sent cannot be dropped. */
  readonly sentBytes: number;
  /** Not yet sent; beyond that the oldest spans are dropped. */
  readonly waitingBytes: number;
}

const LIMITS: OutboxLimits = { sentBytes: MEBIBYTE, waitingBytes: 32 * MEBIBYTE };

/** What a message takes in memory beside its spans, bytes. */
const OVERHEAD_BYTES = 256;

/**
 * Sends what runtimes were answered for to the main thread. If that is busy for long, what waits here is bounded: the
 * oldest spans make room, and the main thread is told of them in their place, because it counts everything.
 */
export class Outbox implements JaegerBatches {
  readonly #post: (message: FromThread, transfer: ArrayBuffer[]) => void;
  readonly #limits: OutboxLimits;
  /** In order, because a connection's end must not overtake its batches. */
  readonly #waiting = new Fifo<FromThread>();
  readonly #connections = new Map<HttpConnection, number>();
  #nextConnection = 0;
  #waitingBytes = 0;
  #sentBytes = 0;
  #dropped = new Dropped();

  /** @param post sends a message, whose buffers are transferred. */
  constructor(post: (message: FromThread, transfer: ArrayBuffer[]) => void, limits: OutboxLimits = LIMITS) {
    this.#post = post;
    this.#limits = limits;
  }

  connected(connection: HttpConnection): void {
    const number = this.#nextConnection++;
    this.#connections.set(connection, number);
    const { remoteAddress, remotePort, localAddress, localPort } = connection;
    const ends = { remoteAddress, remotePort, localAddress, localPort };
    this.#add({ type: "connected", connection: number, ends });
  }

  disconnected(connection: HttpConnection): void {
    const number = this.#connections.get(connection);
    if (number === undefined) return;
    this.#add({ type: "disconnected", connection: number });
    this.#connections.delete(connection);
  }

  take(batch: JaegerBatch, spans: EncodedSpans, bodyBytes: number, connection: HttpConnection): void {
    // The client may have gone while its request waited for the start.
    const isOpen = this.#connections.has(connection);
    if (!isOpen) this.connected(connection);
    const packed = spans.pack();
    this.#add({
      type: "batch",
      connection: this.#connections.get(connection) as number,
      batch,
      bodyBytes,
      spans: packed,
      size: packed.bytes.length + packed.ranges.byteLength + OVERHEAD_BYTES,
    });
    if (!isOpen) this.disconnected(connection);
  }

  invalid(reason: InvalidReason, bodyBytes: number): void {
    this.#add({ type: "invalid", reason, bodyBytes });
  }

  /** The main thread has taken so much of what was sent. */
  taken(bytes: number): void {
    this.#sentBytes -= bytes;
    this.#send(this.#limits.sentBytes);
  }

  /** Sends everything. */
  flush(): void {
    this.#send(Number.POSITIVE_INFINITY);
  }

  #add(message: FromThread): void {
    this.#waiting.push(message);
    this.#waitingBytes += sizeOf(message);
    this.#send(this.#limits.sentBytes);
    while (this.#waitingBytes > this.#limits.waitingBytes) {
      const oldest = this.#waiting.shiftFirst(isBatch);
      if (oldest === undefined) return;
      this.#waitingBytes -= oldest.size;
      this.#dropped.add(oldest);
    }
  }

  #send(limit: number): void {
    while (this.#sentBytes < limit) {
      const message = this.#dropped.take() ?? this.#waiting.shift();
      if (message === undefined) return;
      const size = sizeOf(message);
      if (message.type !== "dropped") this.#waitingBytes -= size;
      this.#sentBytes += size;
      this.#post(message, isBatch(message) ? [message.spans.bytes.buffer, message.spans.ranges.buffer] : []);
    }
  }
}

/** Sums up what was dropped and the main thread has not been told of. */
class Dropped {
  #sum: DroppedMessage | undefined;

  add({ batch, bodyBytes, spans }: BatchMessage): void {
    const { batches, noise, invalid, ...sum } = this.#sum ?? NOTHING_DROPPED;
    const sumOfInvalid = new Map(invalid);
    for (const [reason, count] of batch.invalid) sumOfInvalid.set(reason, (sumOfInvalid.get(reason) ?? 0) + count);
    this.#sum = {
      type: "dropped",
      batches: batches + 1,
      spans: sum.spans + countPacked(spans),
      bodyBytes: sum.bodyBytes + bodyBytes,
      noise: noise + batch.noise,
      invalid: sumOfInvalid,
    };
  }

  take(): DroppedMessage | undefined {
    const sum = this.#sum;
    this.#sum = undefined;
    return sum;
  }
}

const NOTHING_DROPPED: DroppedMessage = {
  type: "dropped",
  batches: 0,
  spans: 0,
  bodyBytes: 0,
  noise: 0,
  invalid: new Map(),
};

function isBatch(message: FromThread): message is BatchMessage {
  return message.type === "batch";
}

/** What a message counts for until the main thread has taken it, bytes. */
export function sizeOf(message: FromThread): number {
  return isBatch(message) ? message.size : OVERHEAD_BYTES;
}
