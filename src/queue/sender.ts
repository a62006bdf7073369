import { performance } from "node:perf_hooks";
import { describeError, type Logger } from "../base/log.ts";
import type { DestinationMetrics } from "../pipeline/metrics.ts";
import type { Exporter, ExportResult } from "../pipeline/exporter.ts";
import { countSpans, halve } from "../otlp/request.ts";
import type { SelfTrace } from "../pipeline/self-trace.ts";
import { backoff, DEFAULT_RETRY, type RetrySettings } from "./backoff.ts";
import type { Batch, BatchPart } from "./batch.ts";
import type { BatchQueue } from "./queue.ts";
import { EventLog, StateLog } from "../base/quiet-log.ts";

/** What the sender needs of the rooms around it. */
export interface SenderOptions {
  readonly exporter: Exporter;
  readonly metrics: DestinationMetrics;
  readonly log: Logger;
  /** Takes requests whose spans are given up, where anybody wants them. */
  readonly deadLetter?: { write(request: Uint8Array): void } | undefined;
  readonly retry?: RetrySettings | undefined;
  /** Absent: exports have no spans of their own. */
  readonly trace?: SelfTrace | undefined;
}

/**
 * How long the last try may take whose failure costs nothing, since the spool has all spans, milliseconds: a collector
 * that is there answers within that, and a stop is not held up for one that is not.
 */
const LAST_TRY_MS = 1000;

/** The collector takes nothing at the moment. */
interface Outage {
  /** Tries that failed in a row, those that were under way when the first failed counted as one. */
  tries: number;
  /** Nothing is sent before this, monotonic milliseconds. */
  notBefore: number;
  /**
   * The same by the collector's own word (Retry-After): a request that was under way by then and succeeds does not end
   * it.
   */
  askedUntil: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  error: Error;
}

type Retryable = ExportResult & { kind: "retryable" };
type Rejected = ExportResult & { kind: "rejected" };

/**
 * Sends the queue's batches, oldest first, and decides by the answers what becomes of them (the OTLP specification's
 * "Failures", https://opentelemetry.io/docs/specs/otlp/#failures):
 *
 * - retryable: the batch waits at its place in the queue. While the collector is away one request at a time tries,
 *   at growing intervals.
 * - rejected, and the reason may lie in the spans: the request is halved until the spans at fault are alone, and
 *   given up. That is at most two requests a span; none that the collector takes is lost.
 * - rejected, and the reason lies in how the collector is addressed (credentials, path): the batch is given up whole.
 *   The specification forbids to try it again, and its parts would fare no better.
 * - partial success: the collector has taken the rest and does not say which it has not, so the latter are counted,
 *   but cannot be written to the dead letters.
 */
export class Sender {
  readonly #queue: BatchQueue;
  readonly #options: SenderOptions;
  readonly #retry: RetrySettings;
  #underWay = 0;
  #outage: Outage | undefined;
  /** Given up because of how the collector is addressed, since it began to refuse. */
  #refusedSpans = 0;
  #refusal: Error | undefined;
  #closed = false;
  #finishing: { readonly deadline: number; readonly resolve: () => void } | undefined;
  readonly #outageLog: StateLog;
  readonly #refusalLog: StateLog;
  readonly #rejectedLog: EventLog;
  readonly #partialLog: EventLog;
  readonly #warningLog: EventLog;

  constructor(queue: BatchQueue, options: SenderOptions) {
    this.#queue = queue;
    this.#options = options;
    this.#retry = options.retry ?? DEFAULT_RETRY;
    const { log } = options;
    this.#outageLog = new StateLog({
      begun: () =>
        log.warn("collector unreachable: spans are held until it is back", {
          error: this.#outage && describeError(this.#outage.error),
        }),
      ended: (seconds, times) => log.info("collector is back", { seconds, times }),
    });
    this.#refusalLog = new StateLog({
      begun: () =>
        log.error("collector refuses all requests: spans are given up", {
          error: this.#refusal && describeError(this.#refusal),
        }),
      ended: (seconds) => {
        log.info("collector takes requests again", { seconds, spansGivenUp: this.#refusedSpans });
        this.#refusedSpans = 0;
      },
    });
    this.#rejectedLog = new EventLog((spans, error) =>
      log.error("collector refuses spans: they are given up", { spans, error })
    );
    this.#partialLog = new EventLog((spans, message) =>
      log.error("collector took requests but for some spans: these are lost", { spans, message })
    );
    this.#warningLog = new EventLog((_, message) => log.warn("collector warns", { message }));
  }

  /** Sends what can be sent now. To be called when a batch has come into the queue. */
  pump(): void {
    if (this.#closed) return;
    const isWaiting = this.#outage?.timer !== undefined;
    const slots = this.#outage === undefined ? this.#options.exporter.concurrency : 1;
    while (!isWaiting && this.#underWay < slots) {
      const batch = this.#queue.take();
      if (batch === undefined) break;
      this.#underWay++;
      void this.#send(batch, batch.request);
    }
    this.#checkFinished();
  }

  /**
   * Sends what is in the queue, and resolves when that is done, when nothing more can be done before the deadline, or
   * at the deadline. A collector that is away is tried once more at once; then again, as before, if spans would be lost
   * without.
   *
   * @param deadline monotonic milliseconds.
   */
  finish(deadline: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, deadline - performance.now()));
      this.#finishing = {
        deadline,
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
      };
      if (this.#outage !== undefined) {
        clearTimeout(this.#outage.timer);
        this.#outage.timer = undefined;
        this.#outage.askedUntil = 0;
        this.#outage.tries = 0;
      }
      this.pump();
    });
  }

  /** Ends at once: answers that still come are not heard. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#outage?.timer);
    this.#finishing?.resolve();
    this.#options.exporter.close();
    for (const log of [this.#outageLog, this.#refusalLog]) log.close();
    for (const log of [this.#rejectedLog, this.#partialLog, this.#warningLog]) log.close();
  }

  /** Sends one batch, in parts if need be, until all of it is settled or the collector is away. */
  async #send(batch: Batch, request: Uint8Array): Promise<void> {
    batch.trace ??= this.#options.trace?.exporting(request, batch.spans);
    const parts = batch.parts ?? [{ request, spans: batch.spans }];
    let released = false;
    for (let part = parts.at(-1); part !== undefined; part = parts.at(-1)) {
      const result = await this.#export(batch, part.request);
      if (this.#closed) return;
      if (result.kind === "retryable") {
        batch.trace?.failed(result.error);
        this.#underWay--;
        if (part.request !== request) batch.parts = parts;
        this.#queue.putBack(batch);
        this.#holdOff(result);
        this.#checkFinished();
        return;
      }
      this.#reached();
      parts.pop();
      if (result.kind === "rejected") parts.push(...this.#reject(batch, part, result));
      else this.#accepted(batch, part, result);
      released = part.request === request && result.kind === "success" && result.released === true;
    }
    this.#underWay--;
    batch.trace?.end();
    this.#queue.done(batch, released);
    this.pump();
  }

  async #export({ trace }: Batch, request: Uint8Array): Promise<ExportResult> {
    const { exporter, metrics } = this.#options;
    const began = performance.now();
    let result: ExportResult;
    try {
      const isLastTry = this.#finishing !== undefined && this.#outage !== undefined &&
        this.#queue.spansAtRisk === 0;
      result = await exporter.send(request, isLastTry ? LAST_TRY_MS : undefined, trace);
    } catch (error) {
      // It should not, but if it does, no span shall be lost for it.
      const cause = error instanceof Error ? error : new Error(String(error));
      result = { kind: "retryable", error: cause };
    }
    if (this.#closed) return result;
    metrics.exportDuration.observe((performance.now() - began) / 1000);
    if (result.kind === "retryable") metrics.exportRetries++;
    if (result.kind === "retryable" || result.kind === "rejected") metrics.exportFailures++;
    return result;
  }

  #accepted(
    batch: Batch,
    part: BatchPart,
    result: ExportResult & { kind: "success" | "partial" },
  ): void {
    const { metrics } = this.#options;
    let rejected = 0;
    if (result.kind === "partial") {
      rejected = Math.min(part.spans, Math.max(0, result.rejectedSpans));
      metrics.drop("rejected", rejected);
      batch.trace?.refused(rejected, result.message);
      this.#partialLog.note(rejected, result.message);
    } else if (result.warning !== undefined) {
      this.#warningLog.note(0, result.warning);
    }
    metrics.forwarded += part.spans - rejected;
    metrics.exportedBytes += part.request.length;
    metrics.lastSuccess = Date.now();
    metrics.lastSuccessAt = performance.now();
    this.#queue.settle(batch, part.spans);
    this.#refusalLog.set(false);
  }

  /** Gives a part up, or returns its halves, the first one last. */
  #reject(batch: Batch, part: BatchPart, { error, splitHelps }: Rejected): BatchPart[] {
    const halves = splitHelps === true && part.spans > 1 ? this.#halve(part) : undefined;
    if (halves !== undefined) return halves;
    this.#options.metrics.drop("rejected", part.spans);
    batch.trace?.refused(part.spans, describeError(error));
    this.#queue.settle(batch, part.spans);
    if (splitHelps === true) this.#rejectedLog.note(part.spans, describeError(error));
    else {
      this.#refusal = error;
      this.#refusedSpans += part.spans;
      this.#refusalLog.set(true);
    }
    this.#options.deadLetter?.write(part.request);
    return [];
  }

  /** A part's halves, the first one last; nothing where it cannot be taken apart, though nothing says it could not. */
  #halve({ request }: BatchPart): BatchPart[] | undefined {
    try {
      return halve(request).map((half) => ({ request: half, spans: countSpans(half) })).reverse();
    } catch (error) {
      this.#options.log.error("a refused request cannot be split: it is given up whole", {
        error: describeError(error),
      });
      return undefined;
    }
  }

  /** The collector has answered, be it with a refusal. */
  #reached(): void {
    if (this.#outage === undefined || performance.now() < this.#outage.askedUntil) return;
    clearTimeout(this.#outage.timer);
    this.#outage = undefined;
    this.#outageLog.set(false);
  }

  /** The collector has not answered, or asked for time: sets the time of the next try. */
  #holdOff({ error, retryAfterMs }: Retryable): void {
    const now = performance.now();
    this.#outage ??= { tries: 0, notBefore: now, askedUntil: 0, timer: undefined, error };
    const outage = this.#outage;
    outage.error = error;
    if (retryAfterMs !== undefined) {
      outage.askedUntil = Math.max(outage.askedUntil, now + retryAfterMs);
    }
    this.#outageLog.set(true);
    // Requests that were under way together fail together: one failure.
    if (outage.timer === undefined) outage.tries++;
    else if ((retryAfterMs ?? 0) <= outage.notBefore - now) return;
    clearTimeout(outage.timer);
    const wait = backoff(this.#retry, outage.tries, retryAfterMs);
    outage.notBefore = now + wait;
    outage.timer = setTimeout(() => {
      outage.timer = undefined;
      this.pump();
    }, wait);
  }

  #checkFinished(): void {
    if (this.#finishing === undefined || this.#underWay > 0) return;
    const isFutile = this.#outage?.timer !== undefined &&
      (this.#queue.spansAtRisk === 0 || this.#outage.notBefore >= this.#finishing.deadline);
    if (this.#queue.length === 0 || isFutile) this.#finishing.resolve();
  }
}
