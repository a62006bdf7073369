import { describeError, type Logger } from "../base/log.ts";
import { EventLog, StateLog } from "../base/quiet-log.ts";

/** Logs what a collector does with spans other than taking them: each state once, each event now and then. */
export class DeliveryLog {
  /** Given up because of how the collector is addressed, since it began to refuse. */
  #refusedSpans = 0;
  #refusal: Error | undefined;
  readonly #refusalLog: StateLog;
  readonly #rejectedLog: EventLog;
  readonly #partialLog: EventLog;
  readonly #warningLog: EventLog;

  constructor(log: Logger) {
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
      log.error("collector took requests except for some spans, which are lost", { spans, message })
    );
    this.#warningLog = new EventLog((_, message) => log.warn("collector warns", { message }));
  }

  /** A request was taken. */
  taken(): void {
    this.#refusalLog.set(false);
  }

  /** A request was refused for how the collector is addressed, and is given up. */
  refused(spans: number, error: Error): void {
    this.#refusal = error;
    this.#refusedSpans += spans;
    this.#refusalLog.set(true);
  }

  /** Spans were refused for what they are, and are given up. */
  rejected(spans: number, error: Error): void {
    this.#rejectedLog.note(spans, describeError(error));
  }

  /** A request was taken except for some spans. */
  partial(spans: number, message: string): void {
    this.#partialLog.note(spans, message);
  }

  /** A request was taken, and the collector has something to say all the same. */
  warning(message: string): void {
    this.#warningLog.note(0, message);
  }

  /** Says now what is still to be said. */
  close(): void {
    for (const log of [this.#refusalLog, this.#rejectedLog, this.#partialLog, this.#warningLog]) log.close();
  }
}
