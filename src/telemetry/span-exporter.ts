import { type ExportResult as SdkResult, ExportResultCode } from "@opentelemetry/core";
import { ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import type { ReadableSpan, SpanExporter } from "@opentelemetry/sdk-trace-base";
import { StateLog } from "../base/quiet-log.ts";
import { describeError, type Logger } from "../base/log.ts";
import type { Exporter } from "../pipeline/exporter.ts";

/**
 * Sends the SDK's spans through an exporter of its own, which makes no spans, so that sending spans never makes more of
 * them. Spans that the collector does not accept are lost.
 */
export class SelfSpanExporter implements SpanExporter {
  readonly #exporter: Exporter;
  /** Allows one request at a time, although the SDK's processor exports several batches at once when it ends. */
  #last: Promise<void> = Promise.resolve();
  #lost = 0;
  #error = "";
  readonly #log: StateLog;

  constructor(exporter: Exporter, log: Logger) {
    this.#exporter = exporter;
    this.#log = new StateLog({
      begun: () => log.warn("own spans are lost: the collector does not take them", this.#fields()),
      ended: (seconds) => {
        log.info("own spans are sent again", { seconds, ...this.#fields() });
        this.#lost = 0;
      },
    });
  }

  export(spans: ReadableSpan[], done: (result: SdkResult) => void): void {
    this.#last = this.#last.then(() => this.#send(spans)).then(done);
  }

  async forceFlush(): Promise<void> {
    await this.#last;
  }

  async shutdown(): Promise<void> {
    await this.#last;
    this.close();
  }

  /** Ends at once. */
  close(): void {
    this.#exporter.close();
    this.#log.close();
  }

  async #send(spans: ReadableSpan[]): Promise<SdkResult> {
    const request = ProtobufTraceSerializer.serializeRequest(spans);
    if (request === undefined) throw new Error("the SDK's spans have no encoding");
    const result = await this.#exporter.send([request]);
    if (result.kind === "success") {
      this.#log.set(false);
      return { code: ExportResultCode.SUCCESS };
    }
    const [lost, error] = result.kind === "partial"
      ? [result.rejectedSpans, new Error(result.message)]
      : [spans.length, result.error];
    this.#lost += lost;
    this.#error = describeError(error);
    this.#log.set(true);
    return { code: ExportResultCode.FAILED, error };
  }

  #fields(): { readonly spans: number; readonly error: string } {
    return { spans: this.#lost, error: this.#error };
  }
}
