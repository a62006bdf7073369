import { performance } from "node:perf_hooks";
import { joinBytes } from "../base/joined-bytes.ts";
import { describeError, type Logger } from "../base/log.ts";
import type { DeadLetters } from "../pipeline/dead-letters.ts";
import type { Exporter, ExportResult } from "../pipeline/exporter.ts";
import type { DestinationMetrics } from "../pipeline/metrics.ts";
import type { SelfTrace } from "../pipeline/self-trace.ts";
import { DEFAULT_RETRY, type RetrySettings } from "./backoff.ts";
import { DeliveryLog } from "./delivery-log.ts";
import type { FairQueue } from "./fair-queue.ts";
import { LAST_TRY_MS, Outage } from "./outage.ts";
import { OutgoingRequest } from "./outgoing-request.ts";
import { Quarantine } from "./quarantine.ts";
import type { RequestLimits } from "./rounds.ts";

/** How often accounts in quarantine are looked at while others send nothing, milliseconds. */
const QUARANTINE_TICK_MS = 20;

/**
 * If a request with fewer bytes than this is refused for a size, it is not for its own: no receiver or proxy sets a
 * limit below this, but backends limit a whole trace ("TRACE_TOO_LARGE").
 */
const LEAST_TOO_LARGE_BYTES = 64 * 1024;

/** What the sender needs of the destination around it. */
export interface SenderOptions {
  readonly exporter: Exporter;
  readonly limits: RequestLimits;
  readonly metrics: DestinationMetrics;
  readonly log: Logger;
  /** Takes requests whose spans are given up, where anybody wants them. */
  readonly deadLetter?: DeadLetters | undefined;
  readonly retry?: RetrySettings | undefined;
  /** Absent: exports have no spans of their own. */
  readonly trace?: SelfTrace | undefined;
}

type Rejected = ExportResult & { kind: "rejected" };
type Accepted = ExportResult & { kind: "success" | "partial" };

/**
 * Sends the queue's chunks, and decides by the answers what becomes of them (the OTLP specification's "Failures",
 * https://opentelemetry.io/docs/specs/otlp/#failures):
 *
 * - retryable: the request is sent again as it is, before all others. See {@link Outage}.
 * - rejected, and the reason may lie in the spans: a request with chunks of several accounts is split until those that
 *   are refused belong to one account each, which goes into {@link Quarantine}. There its requests are halved until the
 *   spans at fault are alone, and given up.
 * - rejected, and the reason lies in how the collector is addressed (credentials, path) or in its load: the request is
 *   given up whole. The specification forbids sending it again, and its parts would fare no better.
 * - partial success: the collector has taken the rest and does not say which it has not, so the latter are counted,
 *   but cannot be written to the dead letters.
 */
export class Sender {
  readonly #queue: FairQueue;
  readonly #options: SenderOptions;
  readonly #outage: Outage;
  readonly #quarantine: Quarantine;
  /** Requests to be sent before any other, the oldest first: again, or parts of one that was refused. */
  readonly #ready: OutgoingRequest[] = [];
  readonly #underWay = new Set<OutgoingRequest>();
  /** Requests that are given up, and are being written to the dead letters. */
  readonly #givenUp = new Map<OutgoingRequest, Promise<void>>();
  /** Aborted when this is closed. */
  readonly #closing = new AbortController();
  #nextSequence = 1;
  #isPumpScheduled = false;
  #tick: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  #finishing: { readonly resolve: () => void } | undefined;
  readonly #log: DeliveryLog;

  constructor(queue: FairQueue, options: SenderOptions) {
    this.#queue = queue;
    this.#options = options;
    const { log, retry = DEFAULT_RETRY, limits } = options;
    const now = (): number => performance.now();
    this.#outage = new Outage({ log, retry, now, onRetry: () => this.pump() });
    this.#quarantine = new Quarantine({
      now,
      assemble: (account) => this.#assembled(queue.takeOf(account, limits)),
      setQuarantined: (account, isQuarantined) => queue.setQuarantined(account, isQuarantined),
    });
    this.#log = new DeliveryLog(log);
  }

  /**
   * Sends what can be sent at the end of this turn of the event loop, so that chunks that come together go together.
   */
  schedulePump(): void {
    if (this.#isPumpScheduled) return;
    this.#isPumpScheduled = true;
    queueMicrotask(() => {
      this.#isPumpScheduled = false;
      this.pump();
    });
  }

  /** Sends what can be sent now. */
  pump(): void {
    if (this.#closed) return;
    const slots = this.#outage.isActive ? 1 : this.#options.exporter.concurrency;
    // Requests that are given up faster than they can be written would otherwise take any amount of memory.
    while (!this.#outage.isWaiting && this.#underWay.size < slots && this.#givenUp.size < slots) {
      const request = this.#next();
      if (request === undefined) break;
      void this.#send(request);
    }
    this.#tickForQuarantine();
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
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
      };
      this.#outage.finish(deadline);
      this.#quarantine.lift();
      this.pump();
    });
  }

  /** Ends at once: answers that still come are not heard. Resolves when nothing is written any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.abort();
    clearTimeout(this.#tick);
    this.#finishing?.resolve();
    this.#options.exporter.close();
    this.#outage.close();
    this.#log.close();
    await Promise.all(this.#givenUp.values());
  }

  /** What is left has come to its end with the process. To be called when the queue has been closed. */
  closeTraces(): void {
    const left = [this.#underWay, this.#givenUp.keys(), this.#ready, this.#quarantine.requests()];
    for (const { job, pieces } of left.flatMap((requests) => [...requests])) {
      job.end(pieces.every(({ chunk }) => chunk.isSpooled) ? "spooled" : "lost");
    }
  }

  #next(): OutgoingRequest | undefined {
    const first = this.#ready.shift();
    if (first !== undefined) return first;
    // While others wait, one of the requests under way may be of an account in quarantine; otherwise all but one.
    const most = this.#queue.isWaiting ? 1 : Math.max(1, this.#options.exporter.concurrency - 1);
    // What the accounts in quarantine lose by refusals is written before they are tried again.
    if (!this.#quarantine.isEmpty && this.#quarantine.busy < most && this.#givenUp.size === 0) {
      const suspect = this.#quarantine.next();
      if (suspect !== undefined) return suspect;
    }
    const request = this.#assembled(this.#queue.take(this.#options.limits));
    if (request !== undefined) this.#quarantine.otherSent();
    return request;
  }

  #assembled(chunks: Parameters<typeof OutgoingRequest.of>[0]): OutgoingRequest | undefined {
    return chunks.length === 0 ? undefined : OutgoingRequest.of(chunks, this.#nextSequence++);
  }

  async #send(request: OutgoingRequest): Promise<void> {
    request.send();
    this.#underWay.add(request);
    const { job, spans } = request;
    job.begin(() => this.#options.trace?.exporting(request.parts, spans));
    const result = await this.#export(request);
    if (this.#closed) return;
    this.#underWay.delete(request);
    if (result.kind === "retryable") {
      job.trace?.failed(result.error);
      this.#again(request);
      this.#queue.refused();
      this.#outage.failed(result);
    } else {
      this.#outage.answered();
      if (result.kind === "rejected") this.#rejected(request, result);
      else this.#accepted(request, result);
      this.#queue.taken();
    }
    this.pump();
  }

  async #export(request: OutgoingRequest): Promise<ExportResult> {
    const { exporter, metrics } = this.#options;
    const began = performance.now();
    let result: ExportResult;
    try {
      // A last try whose failure costs nothing, since the spool has all spans, does not hold up the stop.
      const isLastTry = this.#finishing !== undefined && this.#outage.isActive && this.#queue.spansAtRisk === 0;
      result = await exporter.send(request.parts, isLastTry ? LAST_TRY_MS : undefined, request.job.trace);
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

  /** A request is to be sent again. */
  #again(request: OutgoingRequest): void {
    request.retry();
    const { account } = request;
    if (account !== undefined && this.#quarantine.unanswered(account, request)) return;
    this.#addReady(request);
  }

  /** Puts a request among those that are to be sent before any other, at its place by age. */
  #addReady(request: OutgoingRequest): void {
    const { sequence } = request.job;
    const at = this.#ready.findIndex(({ job }) => job.sequence > sequence);
    this.#ready.splice(at < 0 ? this.#ready.length : at, 0, request);
  }

  #accepted(request: OutgoingRequest, result: Accepted): void {
    const { metrics } = this.#options;
    const { account, byteLength, spans, job } = request;
    let rejected = 0;
    if (result.kind === "partial") {
      rejected = Math.min(spans, Math.max(0, result.rejectedSpans));
      metrics.drop("rejected", rejected);
      job.trace?.refused(rejected, result.message);
      this.#log.partial(rejected, result.message);
    } else if (result.warning !== undefined) {
      this.#log.warning(result.warning);
    }
    metrics.deliver(spans - rejected, byteLength);
    if (account !== undefined) this.#quarantine.accepted(account, request);
    this.#log.taken();
    this.#settle(request, result.kind === "success" && result.released === true);
  }

  #rejected(request: OutgoingRequest, { error, splitHelps, tooLarge }: Rejected): void {
    const { account } = request;
    const isSize = tooLarge === true && request.byteLength > LEAST_TOO_LARGE_BYTES;
    if (isSize && request.spans > 1 && account?.isQuarantined !== true) {
      this.#halveTooLarge(request, error);
    } else if (splitHelps !== true) {
      if (account !== undefined) this.#quarantine.notAtFault(account, request);
      this.#giveUp(request, error);
      this.#log.refused(request.spans, error);
    } else if (account === undefined) {
      this.#separateAccounts(request);
    } else {
      const halves = this.#quarantine.refused(account, request) ? this.#halve(request) : undefined;
      if (halves === undefined) {
        this.#giveUp(request, error);
        this.#log.rejected(request.spans, error);
      } else {
        // The first half next.
        for (const half of halves.reverse()) this.#quarantine.add(account, half);
      }
    }
  }

  /** Splits a request that is too large, which is nobody's fault. */
  #halveTooLarge(request: OutgoingRequest, error: Error): void {
    const halves = this.#halve(request);
    if (halves === undefined) this.#giveUp(request, error);
    else for (const half of halves) this.#addReady(half);
  }

  /** Splits a refused request that holds chunks of several accounts. */
  #separateAccounts(request: OutgoingRequest): void {
    const { suspects, rest } = request.withoutQuarantined();
    for (const suspect of suspects) this.#quarantine.add(suspect.pieces[0]!.chunk.account, suspect);
    if (suspects.length === 0) { for (const part of request.splitByAccount()) this.#addReady(part); }
    else if (rest !== undefined) this.#addReady(rest);
  }

  /** A request's halves; undefined if it cannot be split, though nothing says that it could not. */
  #halve(request: OutgoingRequest): OutgoingRequest[] | undefined {
    try {
      return request.halve();
    } catch (error) {
      this.#options.log.error("a refused request cannot be split: it is given up whole", {
        error: describeError(error),
      });
      return undefined;
    }
  }

  /** Gives a request up. It is settled, and so leaves the spool, when it is in the dead letters. */
  #giveUp(request: OutgoingRequest, error: Error): void {
    const { deadLetter } = this.#options;
    if (deadLetter === undefined) return this.#settleRefused(request, error);
    const writing = deadLetter.write(joinBytes(request.parts), this.#closing.signal).then(() => {
      if (this.#closed) return;
      this.#givenUp.delete(request);
      this.#settleRefused(request, error);
      this.pump();
    });
    this.#givenUp.set(request, writing);
  }

  #settleRefused(request: OutgoingRequest, error: Error): void {
    const { spans, job } = request;
    this.#options.metrics.drop("rejected", spans);
    job.trace?.refused(spans, describeError(error));
    this.#settle(request, false);
  }

  #settle(request: OutgoingRequest, isReleased: boolean): void {
    const { job, pieces, spans } = request;
    request.finish(isReleased);
    job.settle(spans);
    for (const piece of pieces) this.#queue.settle(piece.chunk, piece.spans);
  }

  /** Looks at the accounts in quarantine again after a while, if anything is left to send. */
  #tickForQuarantine(): void {
    if (this.#tick !== undefined || this.#quarantine.isEmpty || this.#queue.length === 0 || this.#closed) return;
    this.#tick = setTimeout(() => {
      this.#tick = undefined;
      this.pump();
    }, QUARANTINE_TICK_MS);
  }

  #checkFinished(): void {
    if (this.#finishing === undefined || this.#underWay.size > 0 || this.#givenUp.size > 0) return;
    const isFutile = this.#outage.isFutile || (this.#outage.isWaiting && this.#queue.spansAtRisk === 0);
    if (this.#queue.length === 0 || isFutile) this.#finishing.resolve();
  }
}
