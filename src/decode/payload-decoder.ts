import { OPEN_BRACE, OPEN_BRACKET } from "./json/characters.ts";
import { EncodedSpans } from "../otlp/encoded-spans.ts";
import { decodeBincode, decodeLargeBincode } from "./bincode/decoder.ts";
import { decodeJson, decodeShortJson } from "./json/decoder.ts";
import { decodeOtlp } from "./otlp/decoder.ts";
import { LongTexts } from "./json/long-texts.ts";
import { LARGE_PAYLOAD_BYTES, type LargePayload, OTLP_FIRST_BYTE } from "./large-payloads.ts";
import { RequestSplitter } from "./otlp/split-request.ts";
import { resemblesBincode, resemblesJson, resemblesOtlp, SMALLEST_BINCODE } from "./resemblance.ts";
import { vectorDecoders } from "./vector-decoders.ts";
import { WireError } from "./wire-error.ts";

/** What a payload may be written in. */
export const ENCODINGS = ["bincode", "json", "otlp"] as const;
export type Encoding = (typeof ENCODINGS)[number];

/**
 * Where the bincode of a span has its first two bytes that cannot be anything, `is_remote` and the tag of
 * `trace_state`, after 25 bytes of ids and flags; what got no further is hardly bincode.
 */
const BINCODE_TAGS_END = 27;

/** The smallest payload that can be a span: one with only its IDs, in OTLP. */
const SMALLEST_PAYLOAD = 34;
const EMPTY = new WireError("truncated", 0, "an empty payload");
const TOO_SMALL = new WireError("truncated", 0, "a payload too small for a span in any encoding");
/**
 * Refused payloads are diagnosed until there have been so many more of them than of valid ones. After that, payloads
 * too small for a span are not decoded, and large requests in OTLP are refused without saying why.
 */
const MOST_DIAGNOSED = 16;
/** A smaller request is always diagnosed, bytes. */
const LARGE_DIAGNOSIS_BYTES = 1024;

/**
 * How many more bytes of a guest's JSON the decoder in WebAssembly may leave to the one in TypeScript than it decodes.
 * After that it is tried with one byte in {@link BYTES_PER_TRIED} only, because what the guest sends may change.
 */
const MOST_LEFT_BYTES = 64 * 1024;
const BYTES_PER_TRIED = 16;

/** Takes what nobody needs. */
const SCRATCH = new EncodedSpans();

/**
 * Tells what one guest's payloads are written in, and decodes them.
 *
 * An agent uses one encoding throughout, so what the guest sent last is tried first, and only if that is refused the
 * others that the payload's beginning and length leave possible. No first byte settles it: bincode begins with any. But
 * each decoder takes a payload only if all of it, to the last byte, is a span in its encoding.
 */
export class PayloadDecoder {
  /** The encodings that the guest has used so far. */
  readonly seen: ReadonlySet<Encoding>;
  readonly #seen = new Set<Encoding>();
  #last: Encoding | undefined;
  /** How many more payloads have been refused than taken, up to {@link MOST_DIAGNOSED}. */
  #refused = 0;
  /** How many more bytes of JSON the decoder in WebAssembly may leave. It is not tried while this is negative. */
  #mayLeaveBytes = MOST_LEFT_BYTES;

  constructor() {
    this.seen = this.#seen;
  }

  /** True where the guest's payloads are JSON, in which no byte is zero. */
  get isText(): boolean {
    return this.#last === "json";
  }

  /**
   * Whether a payload of `length` bytes may be a span in the guest's encoding, to judge by its beginning,
   * `buffer[start … end)`: all of it or at least `RECOGNISED_BYTES`.
   */
  resembles(buffer: Uint8Array, start: number, end: number, length: number): boolean {
    const last = this.#last;
    return ((last === undefined || last === "json") && resemblesJson(buffer, start)) ||
      ((last === undefined || last === "bincode") && resemblesBincode(buffer, start, end, length)) ||
      ((last === undefined || last === "otlp") && resemblesOtlp(buffer, start, end, length));
  }

  /**
   * What is wrong with `buffer[start … end)`, the beginning of a payload in bincode: `truncated` if it may become a
   * span. Undefined in other encodings, whose beginnings are known without that.
   */
  checkBeginning(buffer: Uint8Array, start: number, end: number): WireError | undefined {
    return this.#last === "bincode" ? this.#attempt("bincode", buffer, start, end, SCRATCH, false) : undefined;
  }

  /** As {@link read}, but throws the error. */
  decode(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): Encoding {
    const result = this.read(buffer, start, end, spans);
    if (result instanceof WireError) throw result;
    return result;
  }

  /**
   * Decodes the payload `buffer[start … end)` into `spans`, which is cleared first; returns its encoding.
   *
   * If the payload is invalid, returns the {@link WireError} of the encoding that it was most likely meant to be: the
   * one that the guest used before, else the one whose decoder got furthest; `unknown-encoding` if it resembles none.
   * The contents of `spans` are not valid then. The error is not thrown, because throwing takes longer than finding out
   * that a small payload is wrong.
   *
   * @param isCertain whether this is known to be a payload, so that nobody needs to know where it goes wrong.
   */
  read(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans, isCertain = false): Encoding | WireError {
    if (start === end) return EMPTY;
    const isTerse = this.#refused >= MOST_DIAGNOSED;
    if (isTerse && end - start < SMALLEST_PAYLOAD) return TOO_SMALL;
    const result = this.#try(buffer, start, end, spans, isTerse && isCertain && end - start >= LARGE_DIAGNOSIS_BYTES);
    this.#count(result);
    return result;
  }

  /**
   * Decodes frames that follow each other, `buffer[start … end)`, headers included, into `spans`, which is cleared
   * first: as {@link read} does with the payload of each, but only up to the first that is not as agents usually write
   * it in {@link encoding}. Returns how many those are, each of one span.
   *
   * @param frames how many there are.
   */
  readFrames(buffer: Uint8Array, start: number, end: number, frames: number, spans: EncodedSpans): number {
    if (!this.readsFrames) return 0;
    const isJson = this.#last === "json";
    spans.clear();
    const count = vectorDecoders()?.frames(isJson, buffer, start, end, spans) ?? 0;
    this.#refused = Math.max(0, this.#refused - count);
    if (isJson && count === frames) this.#mayLeaveBytes = Math.min(this.#mayLeaveBytes + end - start, MOST_LEFT_BYTES);
    return count;
  }

  /** Whether {@link readFrames} may read some. */
  get readsFrames(): boolean {
    return (this.#last === "json" || this.#last === "bincode") && this.#mayLeaveBytes >= 0;
  }

  /** What the guest used last; undefined before its first span. */
  get encoding(): Encoding | undefined {
    return this.#last;
  }

  #count(result: Encoding | WireError): void {
    if (result instanceof WireError) this.#refused = Math.min(this.#refused + 1, MOST_DIAGNOSED);
    else if (this.#refused > 0) this.#refused--;
  }

  /**
   * Decodes a payload that `isLargePayload` step by step, between which other payloads may be decoded and
   * this one may be moved. Returns its encoding, or the error as {@link read} does.
   *
   * @param take takes the spans of each part, and copies what it keeps of them.
   * @param isCertain as of {@link read}.
   */
  *readLarge(
    payload: LargePayload,
    take: (spans: EncodedSpans) => void,
    isCertain = false,
  ): Generator<void, Encoding | WireError> {
    const { buffer, start, end } = payload;
    // Its own, so that what has been decoded in one step can be taken in the next one.
    const spans = new EncodedSpans();
    const likely = this.#last;
    const isTerse = isCertain && this.#refused >= MOST_DIAGNOSED;
    const encodings = new Set([...(likely === undefined ? [] : [likely]), ...possible(buffer, start, end)]);
    let first: WireError | undefined;
    for (const encoding of encodings) {
      const error = yield* this.#stepThrough(encoding, payload, spans, take, isTerse);
      if (error === undefined) {
        this.#last = encoding;
        this.#seen.add(encoding);
        this.#count(encoding);
        return encoding;
      }
      first ??= error;
    }
    const refusal = first ?? new WireError("unknown-encoding", 0, "neither bincode nor JSON nor OTLP");
    this.#count(refusal);
    return refusal;
  }

  *#stepThrough(
    encoding: Encoding,
    payload: LargePayload,
    spans: EncodedSpans,
    take: (spans: EncodedSpans) => void,
    isTerse: boolean,
  ): Generator<void, WireError | undefined> {
    try {
      if (encoding === "json") {
        const longTexts = new LongTexts();
        const error = yield* longTexts.takeOut(payload);
        if (error !== undefined) return error;
        spans.clear();
        decodeShortJson(longTexts, spans);
      } else if (encoding === "bincode") {
        spans.clear();
        decodeLargeBincode(payload.buffer, payload.start, payload.end, spans);
      } else {
        const splitter = new RequestSplitter(payload, function* (request, end) {
          spans.clear();
          if (isTerse) decodeOtlpTersely(request, 0, end, spans);
          else decodeOtlpFast(request, 0, end, spans);
          if (end > LARGE_PAYLOAD_BYTES) yield;
          take(spans);
        });
        yield* splitter.split();
        return undefined;
      }
    } catch (error) {
      if (error instanceof WireError) return error;
      throw error;
    }
    yield;
    take(spans);
    return undefined;
  }

  /**
   * Decodes a payload in one encoding after clearing `spans`; returns why it is not written in it.
   *
   * @param isTerse it is enough to know that it is not, if that is less work.
   */
  #attempt(
    encoding: Encoding,
    buffer: Uint8Array,
    start: number,
    end: number,
    spans: EncodedSpans,
    isTerse: boolean,
  ): WireError | undefined {
    spans.clear();
    try {
      if (encoding === "json") this.#decodeJson(buffer, start, end, spans);
      else if (encoding === "bincode") decodeBincodeFast(buffer, start, end, spans);
      else if (isTerse) decodeOtlpTersely(buffer, start, end, spans);
      else decodeOtlpFast(buffer, start, end, spans);
      return undefined;
    } catch (error) {
      if (error instanceof WireError) return error;
      throw error;
    }
  }

  /**
   * As {@link decodeJsonFast}, but a guest whose payloads are mostly left to `decodeJson` after all has them decoded by
   * that at once. Otherwise it could have each of them decoded twice.
   */
  #decodeJson(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): void {
    const bytes = (end - start) | 0;
    if (this.#mayLeaveBytes < 0) {
      this.#mayLeaveBytes += (bytes / BYTES_PER_TRIED) | 0;
      decodeJson(buffer, start, end, spans);
      return;
    }
    const before = this.#mayLeaveBytes;
    this.#mayLeaveBytes -= bytes;
    if (decodeJsonFast(buffer, start, end, spans)) this.#mayLeaveBytes = Math.min(before + bytes, MOST_LEFT_BYTES);
  }

  #try(
    buffer: Uint8Array,
    start: number,
    end: number,
    spans: EncodedSpans,
    isTerse: boolean,
  ): Encoding | WireError {
    const last = this.#last;
    let likely: WireError | undefined;
    let furthest = 0;
    let isLastTried = last !== undefined && begins(last, buffer, start, end);
    if (last !== undefined && isLastTried) {
      likely = this.#attempt(last, buffer, start, end, spans, isTerse);
      if (likely === undefined) return last;
      furthest = Infinity;
    }
    let cause: WireError | undefined;
    for (const encoding of possible(buffer, start, end)) {
      if (isLastTried && encoding === last) continue;
      const error = this.#attempt(encoding, buffer, start, end, spans, isTerse);
      if (error === undefined) {
        this.#last = encoding;
        this.#seen.add(encoding);
        return encoding;
      }
      if (encoding === last) {
        isLastTried = true;
        likely = error;
        furthest = Infinity;
      }
      cause ??= error;
      const offset = encoding === "bincode" && error.offset < BINCODE_TAGS_END ? 0 : error.offset;
      if (offset > furthest) {
        furthest = offset;
        likely = error;
      }
    }
    // Whatever the others say, they are not what this guest writes.
    if (last !== undefined && !isLastTried) likely = this.#attempt(last, buffer, start, end, spans, isTerse);
    return likely ?? new WireError("unknown-encoding", 0, "neither bincode nor JSON nor OTLP", { cause });
  }
}

/**
 * Whether a payload looks like one in an encoding that others could be taken for. Where it does not, the others are
 * tried first: to be refused takes several times as long as to be decoded, and a guest may change encodings each time.
 */
function begins(encoding: Encoding, buffer: Uint8Array, start: number, end: number): boolean {
  const first = buffer[start];
  if (encoding === "otlp") return first === OTLP_FIRST_BYTE;
  const isBrace = first === OPEN_BRACE || first === OPEN_BRACKET;
  if (encoding === "json") return isBrace || isWhiteSpace(first as number);
  return !isBrace && first !== OTLP_FIRST_BYTE || resemblesBincode(buffer, start, end, end - start);
}

/** As `decodeJson`, but faster for what agents usually send; false if it was left to that. */
export function decodeJsonFast(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): boolean {
  if (vectorDecoders()?.json(buffer, start, end, spans) === true) return true;
  decodeJson(buffer, start, end, spans);
  return false;
}

/** As `decodeBincode`, likewise. */
export function decodeBincodeFast(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): void {
  if (vectorDecoders()?.bincode(buffer, start, end, spans) !== true) decodeBincode(buffer, start, end, spans);
}

/** As `decodeOtlp`, likewise. */
export function decodeOtlpFast(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): void {
  if (vectorDecoders()?.otlp(buffer, start, end, spans) !== true) decodeOtlp(buffer, start, end, spans);
}

/** As {@link decodeOtlpFast}, but the error does not say what is wrong. */
function decodeOtlpTersely(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): void {
  const isValid = vectorDecoders()?.isOtlp(buffer, start, end, spans);
  if (isValid === undefined) decodeOtlp(buffer, start, end, spans);
  // Both decoders take the same requests, but for some of over 400 KiB that have a resource in two pieces, and those
  // come here in parts that have it in one. So the other decoder could only say why.
  else if (!isValid) throw new WireError("invalid-value", end - start, "one more request that is not valid");
}

/** The encodings that a payload may have, judged by its beginning and its length; the more likely ones first. */
function possible(buffer: Uint8Array, start: number, end: number): Encoding[] {
  const encodings: Encoding[] = [];
  let at = start;
  while (at < end && isWhiteSpace(buffer[at] as number)) at++;
  const first = at < end ? buffer[at] : undefined;
  if (first === OPEN_BRACE || first === OPEN_BRACKET) encodings.push("json");
  if (buffer[start] === OTLP_FIRST_BYTE) encodings.push("otlp");
  if (end - start >= SMALLEST_BINCODE) encodings.push("bincode");
  return encodings;
}

/** JSON's white space (RFC 8259, section 2). */
function isWhiteSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
