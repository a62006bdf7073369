import { LONGEST_TIMER_MS } from "../base/longest-timer.ts";
import { type Exporter, ExportError, type ExportResult, type RequestTrace } from "../pipeline/exporter.ts";

/** What carries one request at a time, over a connection of its own. */
export interface ExportSlot {
  /** Sends one request. Never rejects. */
  send(request: Uint8Array, trace?: RequestTrace): Promise<ExportResult>;
  /** False once its connection is not worth another request: the slot is then closed and another opened. */
  readonly usable: boolean;
  /** What the last try came to, where the transport is still busy with the request and would try again. */
  readonly interim: ExportResult | undefined;
  /** Ends the connection, and the request under way where that is possible; its result is of no interest any more. */
  close(): void;
}

/**
 * How long a request may take beyond the time that the transport gives it, milliseconds: the transport's own timeout
 * comes first and says more.
 */
const DEADLINE_MARGIN_MS = 1000;

/** What OpenTelemetry's transports ask for: requests are encoded already, and an answer is kept as it comes. */
export class PlainSerializer {
  /** The answer to the request that was sent last, if it has come. */
  answer: Uint8Array | undefined;

  serializeRequest(request: Uint8Array): Uint8Array {
    return request;
  }

  deserializeResponse(body: Uint8Array): undefined {
    this.answer = body;
  }
}

/**
 * An exporter made of slots that each carry one request at a time, so that an answer belongs to its request without
 * doubt. A slot is opened when it is first needed; the one used last is used first, so few are open under little load.
 */
export class SlotExporter implements Exporter {
  readonly concurrency: number;
  readonly #openSlot: () => ExportSlot;
  readonly #timeoutMs: number;
  readonly #idle: ExportSlot[] = [];
  readonly #busy = new Map<ExportSlot, (result: ExportResult) => void>();
  #closed = false;

  /** @param timeoutMs how long the transport gives a request, milliseconds. */
  constructor(openSlot: () => ExportSlot, concurrency: number, timeoutMs: number) {
    this.#openSlot = openSlot;
    this.concurrency = concurrency;
    this.#timeoutMs = timeoutMs + DEADLINE_MARGIN_MS;
  }

  send(
    request: Uint8Array,
    timeoutMs: number = this.#timeoutMs,
    trace?: RequestTrace,
  ): Promise<ExportResult> {
    if (this.#closed) return Promise.resolve(closedResult());
    if (this.#busy.size >= this.concurrency) {
      throw new RangeError(`more than ${this.concurrency} requests at once`);
    }
    const slot = this.#idle.pop() ?? this.#openSlot();
    return new Promise((resolve) => {
      const settle = (result: ExportResult): void => {
        // The first of answer, deadline and close; whatever comes later has no one waiting.
        if (!this.#busy.delete(slot)) return;
        clearTimeout(deadline);
        resolve(result);
      };
      const deadline = setTimeout(() => {
        const error = new ExportError(`no answer within ${timeoutMs} ms`);
        settle(slot.interim ?? { kind: "retryable", error });
        slot.close();
      }, Math.min(timeoutMs, LONGEST_TIMER_MS));
      this.#busy.set(slot, settle);
      void slot.send(request, trace).then((result) => {
        if (!this.#busy.has(slot)) return;
        settle(result);
        if (slot.usable) this.#idle.push(slot);
        else slot.close();
      });
    });
  }

  close(): void {
    this.#closed = true;
    for (const slot of this.#idle.splice(0)) slot.close();
    for (const [slot, settle] of [...this.#busy]) {
      settle(closedResult());
      slot.close();
    }
  }
}

function closedResult(): ExportResult {
  return { kind: "retryable", error: new ExportError("the exporter is closed") };
}
