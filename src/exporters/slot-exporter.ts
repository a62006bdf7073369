import { ConnectionError } from "./connection/connector.ts";
import { type Exporter, ExportError, type ExportResult, type RequestTrace } from "../pipeline/exporter.ts";

/** What carries one request at a time, over a connection of its own. */
export interface ExportSlot {
  /**
   * Sends one request, and again where its first connection turns out to have been closed before. Never rejects.
   *
   * @param request its bytes, in parts that follow each other.
   * @param timeoutMs how long the request may take, milliseconds: for the collector to know. The slot is closed then.
   */
  send(request: readonly Uint8Array[], timeoutMs: number, trace?: RequestTrace): Promise<ExportResult>;
  /** Whether the request under way has a connection. */
  readonly isConnected: boolean;
  /** Ends the connection and the request under way, whose result does not matter any more. */
  close(): void;
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

  /** @param timeoutMs how long a request may take, milliseconds; no timer takes more than `LONGEST_TIMER_MS`. */
  constructor(openSlot: () => ExportSlot, concurrency: number, timeoutMs: number) {
    this.#openSlot = openSlot;
    this.concurrency = concurrency;
    this.#timeoutMs = timeoutMs;
  }

  send(request: readonly Uint8Array[], timeoutMs = Infinity, trace?: RequestTrace): Promise<ExportResult> {
    if (this.#closed) return Promise.resolve(closedResult());
    if (this.#busy.size >= this.concurrency) {
      throw new RangeError(`more than ${this.concurrency} requests at once`);
    }
    const slot = this.#idle.pop() ?? this.#openSlot();
    const limitMs = Math.max(1, Math.min(timeoutMs, this.#timeoutMs));
    return new Promise((resolve) => {
      const settle = (result: ExportResult): boolean => {
        // The first of answer, deadline and close; nobody waits for what comes later.
        if (!this.#busy.delete(slot)) return false;
        clearTimeout(deadline);
        resolve(result);
        return true;
      };
      const deadline = setTimeout(() => {
        settle({ kind: "retryable", error: timeoutError(slot, limitMs) });
        // Its connection may lead nowhere: the next request gets another.
        slot.close();
      }, limitMs);
      this.#busy.set(slot, settle);
      void slot.send(request, limitMs, trace).then((result) => {
        if (settle(result)) this.#idle.push(slot);
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

function timeoutError({ isConnected }: ExportSlot, limitMs: number): ExportError {
  if (isConnected) return new ExportError(`timed out: no answer within ${limitMs} ms`);
  const message = `timed out: no connection within ${limitMs} ms`;
  return new ExportError(message, undefined, { cause: new ConnectionError("collector", message) });
}

function closedResult(): ExportResult {
  return { kind: "retryable", error: new ExportError("the exporter is closed") };
}
