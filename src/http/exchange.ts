import { type BodyBudget, BodyCollector } from "./body.ts";
import type { HttpLimits } from "./limits.ts";
import { type HttpAnswer, type HttpHandler, type HttpHead, type HttpProblem, textAnswer } from "./messages.ts";

/** A request and its way back, whatever the version of HTTP. */
export interface Transport {
  readonly head: HttpHead;
  /** The number in `Content-Length`; undefined if there is none. */
  readonly declaredBytes: number | undefined;
  /** Sends the answer. What is left of the body is still read, and thrown away. */
  send(answer: HttpAnswer): void;
  /** Ends the request, and with HTTP/1 its connection, at once. */
  destroy(): void;
}

/** What all exchanges of a server share. */
export interface ExchangeContext {
  readonly handler: HttpHandler;
  readonly limits: HttpLimits;
  readonly budget: BodyBudget;
  readonly onError: (error: Error, path: string) => void;
}

const TOO_LARGE: HttpProblem = { status: 413, text: "the body is too large" };
const TOO_SLOW: HttpProblem = { status: 408, text: "the body did not come in time" };
const NO_ROOM: HttpProblem = { status: 503, text: "too many requests at once" };
const NO_ANSWER: HttpProblem = { status: 503, text: "no answer in time" };
const FAILED: HttpProblem = { status: 500, text: "internal error, see the forwarder's log" };

/**
 * One request from its headers to its answer.
 *
 * ```
 * reading ──end of body──▶ answering ──answer──▶ sending ──sent──▶ closed
 *    └──refused, too large, too slow──────────────▲
 * ```
 *
 * A request that is refused by its headers is answered after its body, which is thrown away as it comes, because a
 * client that is still sending may not see an answer that comes earlier. If the body is larger than a body may be, the
 * answer comes at once.
 */
export class Exchange {
  readonly #transport: Transport;
  readonly #context: ExchangeContext;
  readonly #body: BodyCollector;
  #state: "reading" | "answering" | "sending" | "closed" = "reading";
  /** The answer that was decided on before the body was read. */
  #refusal: HttpAnswer | undefined;
  #refusedBytes = 0;
  #deadline: ReturnType<typeof setTimeout>;

  constructor(transport: Transport, context: ExchangeContext) {
    this.#transport = transport;
    this.#context = context;
    this.#body = new BodyCollector(context.budget, context.limits.maxBodyBytes);
    this.#deadline = setTimeout(() => this.#bodyTooSlow(), context.limits.bodyMs);
    try {
      this.#refusal = context.handler.admit?.(transport.head);
    } catch (error) {
      this.#refusal = this.#failure(error);
    }
    const { declaredBytes } = transport;
    if (declaredBytes === undefined || declaredBytes <= context.limits.maxBodyBytes) return;
    this.#answer(this.#refusal ?? this.#explain(TOO_LARGE));
  }

  /** A chunk of the body has come. */
  chunk(bytes: Uint8Array): void {
    if (this.#state !== "reading") return;
    if (this.#refusal !== undefined) {
      this.#refusedBytes += bytes.length;
      if (this.#refusedBytes > this.#context.limits.maxBodyBytes) this.#answer(this.#refusal);
      return;
    }
    const problem = this.#body.add(bytes);
    if (problem === undefined) return;
    this.#body.discard();
    if (problem === "too-large") this.#answer(this.#explain(TOO_LARGE));
    else this.#refusal = this.#explain(NO_ROOM);
  }

  /** The body is whole. */
  end(): void {
    if (this.#state !== "reading") return;
    if (this.#refusal !== undefined) {
      this.#answer(this.#refusal);
      return;
    }
    this.#state = "answering";
    this.#startDeadline(() => this.#answer(this.#explain(NO_ANSWER)));
    const body = this.#body.finish();
    try {
      const answer = this.#context.handler.answer({ ...this.#transport.head, body });
      if (answer instanceof Promise) {
        answer.then((settled) => this.#answer(settled), (error) => this.#answer(this.#failure(error)));
      } else this.#answer(answer);
    } catch (error) {
      this.#answer(this.#failure(error));
    }
  }

  /** The answer has been sent, or the client has gone. */
  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    clearTimeout(this.#deadline);
    this.#body.discard();
  }

  #answer(answer: HttpAnswer): void {
    if (this.#state === "sending" || this.#state === "closed") return;
    this.#state = "sending";
    this.#body.discard();
    this.#startDeadline(() => this.#transport.destroy());
    this.#transport.send(answer);
  }

  #bodyTooSlow(): void {
    this.#answer(this.#refusal ?? this.#explain(TOO_SLOW));
  }

  #failure(error: unknown): HttpAnswer {
    this.#context.onError(
      error instanceof Error ? error : new Error(String(error)),
      this.#transport.head.path,
    );
    return this.#explain(FAILED);
  }

  #explain(problem: HttpProblem): HttpAnswer {
    const { handler } = this.#context;
    if (handler.explain !== undefined) return handler.explain(this.#transport.head, problem);
    return textAnswer(problem.status, `${problem.text}\n`, problem.status === 503 ? { "retry-after": "1" } : {});
  }

  #startDeadline(onTime: () => void): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(onTime, this.#context.limits.answerMs);
  }
}
