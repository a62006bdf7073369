import { HelperError } from "./helper-error.ts";

/** How long the helper may take to answer, milliseconds. */
const ANSWER_MS = 5_000;

/** Requests of one kind that have not been answered. Each has a number, which comes back with its answer. */
export class PendingAnswers<Answer> {
  readonly #waiting = new Map<number, PromiseWithResolvers<Answer>>();
  #next = 0;

  /** Resolves with the answer to what `send` sends. Rejects with a {@link HelperError}, also if none comes in time. */
  async ask(send: (id: number) => void): Promise<Answer> {
    const id = this.#next++;
    const answer = Promise.withResolvers<Answer>();
    this.#waiting.set(id, answer);
    send(id);
    try {
      return await inTime(answer.promise, ANSWER_MS);
    } finally {
      this.#waiting.delete(id);
    }
  }

  /** Returns false if nobody waits for it any more. */
  settle(id: number, answer: Answer): boolean {
    const waiting = this.#waiting.get(id);
    waiting?.resolve(answer);
    return waiting !== undefined;
  }

  fail(id: number, error: HelperError): void {
    this.#waiting.get(id)?.reject(error);
  }

  /** No more answers come. */
  failAll(error: HelperError): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** Rejects with a {@link HelperError} if it takes too long. */
export async function inTime<Value>(promise: Promise<Value>, timeoutMs = ANSWER_MS): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const fail = (): void => reject(new HelperError(`the helper process did not answer within ${timeoutMs} ms`));
    timer = setTimeout(fail, timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
