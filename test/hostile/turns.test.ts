import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Metrics } from "../../src/pipeline/metrics.ts";
import { redacting } from "../../src/processors/redact.ts";
import { truncatingAttributes } from "../../src/processors/truncate-attributes.ts";
import { Turns } from "../../src/receivers/accounts/turns.ts";
import { Receiver } from "../../src/receivers/vsock/receiver.ts";
import { FakeConnection, FakeSink, LIMITS } from "../receivers/vsock/support.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { largeStreams } from "./large-payloads.ts";
import { hostileStreams } from "./payloads.ts";

/** As much as a runtime reads of a socket at once. */
const CHUNK_BYTES = 256 * 1024;
/** The largest frames by default. */
const MAX_FRAME_BYTES = 8 * 1024 * 1024;
/** Each stream is sent so often: what it needs is compiled by the last time. */
const ROUNDS = 2;
const MINUTES = { timeout: 600_000 };

/** What is between a socket and the queue, and how long it works for at a stretch. */
class Stretches {
  /** The longest, milliseconds. */
  longest = 0;

  timed(work: () => void): void {
    const began = performance.now();
    work();
    this.longest = Math.max(this.longest, performance.now() - began);
  }

  /** Sends a stream; resolves with how many spans came, and how many of them were invalid. */
  async send(stream: Uint8Array): Promise<{ received: number; invalid: number }> {
    const metrics = new Metrics();
    const sink = truncatingAttributes(new FakeSink(), metrics, undefined);
    const limits = { ...LIMITS, maxFrameBytes: MAX_FRAME_BYTES, maxGuestBytes: 4 * MAX_FRAME_BYTES };
    const receiver = new Receiver(
      redacting(sink, { debugText: true, names: new Set() }),
      limits,
      metrics,
      new RecordingLogger(),
    );
    const turns = new Turns(() => performance.now(), (run) => void setImmediate(() => this.timed(run)));
    Object.assign(receiver, { turns });
    const connection = new FakeConnection();
    const guest = receiver.accept(connection);
    for (let at = 0; at < stream.length && !connection.isDestroyed; at += CHUNK_BYTES) {
      this.timed(() => guest.data(stream.subarray(at, at + CHUNK_BYTES)));
      do await nextTurn(); while (connection.isPaused && !connection.isDestroyed);
    }
    this.timed(() => guest.end());
    while (metrics.guestsConnected > 0) await nextTurn();
    receiver.close();
    const { received, invalid } = metrics.receiver("vsock");
    return { received, invalid: Object.values(invalid).reduce((sum, count) => sum + count, 0) };
  }
}

test("whatever a frame has in it, all of it is dealt with in turns, which are printed", MINUTES, async () => {
  const rows: { readonly name: string; readonly longest: number }[] = [];
  const streams = [...largeStreams(), ...hostileStreams().filter((_, index) => index % 4 === 0)];
  for (const { name, bytes } of streams) {
    let longest = Infinity;
    for (let round = 0; round < ROUNDS; round++) {
      const stretches = new Stretches();
      const { received, invalid } = await stretches.send(bytes);
      // All comes to something, and nothing counts as both.
      assert.ok(received > 0 && invalid <= received, `${name}: ${received} received, ${invalid} of them invalid`);
      longest = Math.min(longest, stretches.longest);
    }
    rows.push({ name, longest });
  }
  const slowest = rows.sort((left, right) => right.longest - left.longest).slice(0, 12);
  for (const { name, longest } of slowest) process.stdout.write(`  ${longest.toFixed(1)} ms at a stretch: ${name}\n`);
});
