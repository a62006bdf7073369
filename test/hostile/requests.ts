import { performance } from "node:perf_hooks";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Chunk, Destination } from "../../src/pipeline/destination.ts";
import { LossyDestination } from "../../src/pipeline/lossy-destination.ts";
import { Metrics } from "../../src/pipeline/metrics.ts";
import type { SpanSink } from "../../src/pipeline/sink.ts";
import type { Source } from "../../src/pipeline/source.ts";
import { truncatingAttributes } from "../../src/processors/truncate-attributes.ts";
import { Delivery } from "../../src/queue/delivery.ts";
import { Turns } from "../../src/receivers/accounts/turns.ts";
import { Receiver } from "../../src/receivers/vsock/receiver.ts";
import { FakeConnection, LIMITS } from "../receivers/vsock/support.ts";
import { RecordingLogger } from "../support/recording-logger.ts";

/** As much as a runtime reads of a socket at once. */
const CHUNK_BYTES = 256 * 1024;
/** The largest frames by default. */
const MAX_FRAME_BYTES = 8 * 1024 * 1024;
/** What a chunk holds at most by default. */
const BATCH = { maxSpans: 2048, maxBytes: 1024 * 1024, maxDelayMs: 200 };

/** How many spans a receiver has read, and how many of them were invalid. */
export interface Received {
  readonly received: number;
  readonly invalid: number;
}

/** Runs something that takes a stretch of the thread. */
export type Timed = (work: () => void) => void;

/**
 * Sends a guest's stream through a receiver into `sink`.
 *
 * @param timed is given all that runs without giving way. @param source the guest; by default one of no sandbox.
 */
export async function sendStream(
  stream: Uint8Array,
  sink: SpanSink,
  metrics: Metrics,
  timed: Timed = (work) => work(),
  source?: Source,
): Promise<Received> {
  const limits = { ...LIMITS, maxFrameBytes: MAX_FRAME_BYTES, maxGuestBytes: 4 * MAX_FRAME_BYTES };
  const receiver = new Receiver(sink, limits, metrics, new RecordingLogger());
  const turns = new Turns(() => performance.now(), (run) => void setImmediate(() => timed(run)));
  Object.assign(receiver, { turns });
  const connection = new FakeConnection(source);
  const guest = receiver.accept(connection);
  for (let at = 0; at < stream.length && !connection.isDestroyed; at += CHUNK_BYTES) {
    timed(() => guest.data(stream.subarray(at, at + CHUNK_BYTES)));
    do await nextTurn(); while (connection.isPaused && !connection.isDestroyed);
  }
  timed(() => guest.end());
  while (metrics.guestsConnected > 0) await nextTurn();
  receiver.close();
  const { received, invalid } = metrics.receiver("vsock");
  return { received, invalid: Object.values(invalid).reduce((sum, count) => sum + count, 0) };
}

/** Keeps the chunks that it is given. */
class KeepingDestination extends LossyDestination {
  override readonly name = "kept";
  readonly chunks: Chunk[] = [];

  override push(chunk: Chunk): void {
    this.chunks.push(chunk);
  }
  override drain(): Promise<number> {
    return Promise.resolve(0);
  }
  override abort(): Promise<number> {
    return Promise.resolve(0);
  }
}

/** What a guest's spans go through before they are queued, with the limits that hold by default. */
export function deliveryTo(metrics: Metrics, ...destinations: readonly Destination[]): SpanSink {
  const delivery = new Delivery({
    batch: BATCH,
    metrics,
    destinations,
    traceName: "kata-agent",
    resourceAttributes: new Map(),
  });
  return truncatingAttributes(delivery, metrics, undefined);
}

/** The chunks that a guest's stream becomes. */
export async function chunksOf(stream: Uint8Array): Promise<readonly Chunk[]> {
  const metrics = new Metrics();
  const kept = new KeepingDestination(metrics.destination("kept"), 0);
  const sink = deliveryTo(metrics, kept);
  await sendStream(stream, sink, metrics);
  await sink.drain(0);
  return kept.chunks;
}
