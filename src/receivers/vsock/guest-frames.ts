import type { Logger } from "../../base/log.ts";
import type { EncodedSpans } from "../../otlp/encoded-spans.ts";
import {
  CERTAIN_BYTES,
  FrameReader,
  type FrameSink,
  TAKEN,
  UNFINISHED,
  type UnfinishedFrame,
} from "../../decode/frame-reader.ts";
import { isLargePayload, type LargePayload } from "../../decode/large-payloads.ts";
import { type Encoding, PayloadDecoder } from "../../decode/payload-decoder.ts";
import { WireError } from "../../decode/wire-error.ts";
import type { ReceiverMetrics } from "../../pipeline/metrics.ts";
import type { GuestLimits } from "../../pipeline/settings.ts";

/** What {@link GuestFrames} needs of the connection that it reads. */
export interface FramesOwner {
  readonly limits: GuestLimits;
  /** What has come in over vsock, of all guests. */
  readonly received: ReceiverMetrics;
  /** One for all guests: a payload is decoded and handed on before the next is looked at. */
  readonly spans: EncodedSpans;
  /** Takes the spans of one payload, or of several. */
  accept(spans: EncodedSpans): void;
  /** Whether {@link accept} would drop none if it got this many spans. */
  hasRate(spans: number): boolean;
  /** A payload was not valid. */
  invalid(): void;
  /** Whether the rest has to wait for another turn. */
  turnIsOver(): boolean;
}

/** One connection's stream on its way to spans: frames, and what their payloads are. */
export class GuestFrames implements FrameSink {
  readonly reader: FrameReader;
  readonly #owner: FramesOwner;
  readonly #guest: string;
  readonly #log: Logger;
  readonly #decoder = new PayloadDecoder();
  /** How many spans have come, and how many payloads that were not valid. */
  spans = 0;
  invalid = 0;
  /** True after a frame that did not come in time, until a whole one comes. */
  isStalled = false;
  /** The large payload that is being decoded. */
  #large: { readonly payload: LargePayload; readonly steps: Generator<void, Encoding | WireError> } | undefined;
  /** What is given up now is given up because it did not come in time. */
  #isLate = false;
  /** Whether the frame that was found by searching is one, as far as it has come. */
  #isCertain = false;

  /** @param guest the connection's name, for the log. */
  constructor(owner: FramesOwner, guest: string, log: Logger) {
    this.#owner = owner;
    this.#guest = guest;
    this.#log = log;
    this.reader = new FrameReader(owner.limits.maxFrameBytes, this);
  }

  /** The frame that the stream is inside of has not come in time: looks for others in what has come of it. */
  timeOut(): void {
    this.isStalled = this.#isLate = true;
    this.reader.giveUp();
    this.#isLate = false;
  }

  /** Takes nothing more. The frame that the stream is inside of counts as given up. */
  close(): void {
    const { unfinished } = this.reader;
    this.reader.close();
    this.#large = undefined;
    if (unfinished !== undefined) this.givenUp(unfinished, false);
  }

  payload(buffer: Uint8Array, start: number, end: number, isFound: boolean): number {
    const seen = this.#decoder.seen.size;
    const isLarge = isLargePayload(buffer, start, end);
    const encoding = isLarge
      ? this.#readLarge(buffer, start, end, isFound)
      : this.#decoder.read(buffer, start, end, this.#owner.spans, !isFound);
    if (encoding === undefined) return UNFINISHED;
    if (encoding instanceof WireError) {
      if (!isFound || this.isText || encoding.offset >= CERTAIN_BYTES) this.#refuse(encoding);
      return encoding.offset;
    }
    const { payloads } = this.#owner.received;
    payloads[encoding] = (payloads[encoding] ?? 0) + 1;
    if (this.#decoder.seen.size !== seen) this.#log.info("guest's encoding", { guest: this.#guest, encoding });
    this.isStalled = false;
    if (!isLarge) this.#take(this.#owner.spans);
    return TAKEN;
  }

  get takesTogether(): boolean {
    return this.#decoder.readsFrames;
  }

  payloads(buffer: Uint8Array, start: number, end: number, frames: number): number {
    const owner = this.#owner;
    const encoding = this.#decoder.encoding;
    if (encoding === undefined || !owner.hasRate(frames)) return 0;
    const taken = this.#decoder.readFrames(buffer, start, end, frames, owner.spans);
    if (taken === 0) return 0;
    const { payloads } = owner.received;
    payloads[encoding] = (payloads[encoding] ?? 0) + taken;
    this.isStalled = false;
    this.#take(owner.spans);
    return taken;
  }

  /** Goes on with a large payload until it is done, which is when this returns something, or its turn is over. */
  #readLarge(buffer: Uint8Array, start: number, end: number, isFound: boolean): Encoding | WireError | undefined {
    let large = this.#large;
    if (large === undefined) {
      const payload = { buffer, start, end };
      const steps = this.#decoder.readLarge(payload, (spans) => this.#take(spans), !isFound);
      large = this.#large = { payload, steps };
    }
    Object.assign(large.payload, { buffer, start, end });
    for (;;) {
      const step = large.steps.next();
      if (step.done === true) {
        this.#large = undefined;
        return step.value;
      }
      if (this.#owner.turnIsOver()) return undefined;
    }
  }

  /** Hands on the spans that have been decoded. */
  #take(spans: EncodedSpans): void {
    const { received } = this.#owner;
    this.spans += spans.count;
    received.received += spans.count;
    this.#owner.accept(spans);
  }

  resembles(buffer: Uint8Array, start: number, end: number, length: number): boolean {
    return this.#decoder.resembles(buffer, start, end, length);
  }

  begun(buffer: Uint8Array, start: number, end: number): number {
    const error = this.#decoder.checkBeginning(buffer, start, end);
    this.#isCertain = error === undefined || error.offset >= CERTAIN_BYTES;
    if (error === undefined || error.reason === "truncated") return TAKEN;
    if (this.#isCertain) this.#refuse(error);
    return error.offset;
  }

  get isText(): boolean {
    return this.#decoder.isText;
  }

  oversized(length: bigint): void {
    const { maxFrameBytes } = this.#owner.limits;
    this.#refuse(new WireError("too-large", 0, `frame of ${length} bytes is over --max-frame-bytes ${maxFrameBytes}`));
  }

  givenUp({ headerBytes, payloadBytes, expectedBytes }: UnfinishedFrame, isFound: boolean): void {
    if (isFound && !this.#isCertain) return;
    const what = expectedBytes === undefined ? "a frame" : `a frame of ${expectedBytes} bytes`;
    const header = expectedBytes === undefined ? `, after ${headerBytes} bytes of its header,` : "";
    const late = this.#isLate ? ` was not whole after ${this.#owner.limits.frameTimeoutMs} ms (--frame-timeout),` : "";
    this.#refuse(new WireError("truncated", payloadBytes, `${what}${late} ends${header}`));
  }

  turnIsOver(): boolean {
    return this.#owner.turnIsOver();
  }

  #refuse(error: WireError): void {
    this.invalid++;
    this.#owner.received.invalidate(error.reason);
    this.#log.warn("invalid payload skipped", {
      guest: this.#guest,
      reason: error.reason,
      offset: error.offset,
      error: error.message,
    });
    this.#owner.invalid();
  }
}
