import { performance } from "node:perf_hooks";
import { freePorts } from "../../../support/ports.ts";
import { type Answer, CollectorStub, type StubRequest } from "../../../support/collector-stub.ts";

/** When a span came, and how often. */
export interface Arrival {
  times: number;
  /** Of the first time, monotonic milliseconds. */
  readonly at: number;
}

/**
 * A collector that can be taken away and brought back at one port, and that counts spans one by one, whatever becomes
 * of it.
 */
export class FarEnd implements AsyncDisposable {
  readonly port: number;
  /** How each request is answered. */
  answer: (request: StubRequest) => Answer = () => ({ kind: "ok" });
  #delayMs = 0;
  /** What it took, by span id. */
  readonly arrivals = new Map<string, Arrival>();
  /** When each request came, monotonic milliseconds. */
  readonly requests: number[] = [];
  #stub: CollectorStub | undefined;

  private constructor(port: number) {
    this.port = port;
  }

  static async start(): Promise<FarEnd> {
    // Below the ports that outgoing connections get, so that it is free when the collector comes back.
    const [port = 0] = await freePorts(1);
    const end = new FarEnd(port);
    await end.comeBack();
    return end;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/v1/traces`;
  }

  /** How long each answer takes from now on, milliseconds. */
  set delayMs(delayMs: number) {
    this.#delayMs = delayMs;
    if (this.#stub !== undefined) this.#stub.delayMs = delayMs;
  }

  /** How many different spans it has. */
  get spans(): number {
    return this.arrivals.size;
  }

  /** How many spans came once more than needed. */
  get duplicates(): number {
    let duplicates = 0;
    for (const { times } of this.arrivals.values()) duplicates += times - 1;
    return duplicates;
  }

  /** Refuses connections from now on, and breaks those that there are. */
  async goAway(): Promise<void> {
    await this.#stub?.stop();
    this.#stub = undefined;
  }

  async comeBack(): Promise<void> {
    const stub = await CollectorStub.start(this.port);
    stub.answer = (request) => this.#note(stub, request);
    stub.delayMs = this.#delayMs;
    this.#stub = stub;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.goAway();
  }

  #note(stub: CollectorStub, request: StubRequest): Answer {
    const at = performance.now();
    // Else the stub keeps each request with all its bytes.
    stub.requests.length = 0;
    this.requests.push(at);
    const answer = this.answer(request);
    if (answer.kind === "ok" || (answer.kind === "reset" && answer.takes === true)) {
      for (const { spanId } of request.spans) {
        const arrival = this.arrivals.get(spanId);
        if (arrival === undefined) this.arrivals.set(spanId, { times: 1, at });
        else arrival.times++;
      }
    }
    return answer;
  }
}
