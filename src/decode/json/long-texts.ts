import { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import { type LargePayload, LONG_TEXT_BYTES, MOST_SHORT_BYTES, STEP_BYTES } from "../large-payloads.ts";
import { vectorDecoders } from "../vector-decoders.ts";
import { WireError } from "../wire-error.ts";
import { BACKSLASH, QUOTE } from "./characters.ts";
import { hexDigit, JsonInput, LONG_TEXT, LONG_TEXT_MARK_BYTES } from "./input.ts";
import { readString } from "./string.ts";

const LETTER_U = 0x75;
/** What an escape takes, and one that names half a character: it has to stay with what follows it. */
const ESCAPE_BYTES = 2;
const UNICODE_ESCAPE_BYTES = 6;

/**
 * The long texts of a JSON payload, taken out of it step by step.
 *
 * What is left is a short JSON text in which a mark stands for each of them; {@link JsonInput} knows the mark. So a
 * payload of megabytes can be decoded in one go when its long texts have been.
 */
export class LongTexts {
  /** The payload with marks in it: `text[0 … textBytes)`. */
  text: Uint8Array = new Uint8Array(LONG_TEXT_BYTES);
  textBytes = 0;
  /** The long texts, decoded, one after the other. */
  readonly #decoded = new ProtobufWriter();
  readonly #ends: number[] = [];
  /** Where in `text` marks end, and what followed the long texts in the payload. */
  readonly #places: { readonly mark: number; readonly payload: number }[] = [];
  /** Decodes a piece of a long text. */
  readonly #piece = new JsonInput();
  readonly #quoted = new Uint8Array(STEP_BYTES + LONG_TEXT_BYTES);

  /** How many bytes the long texts have, decoded. */
  get decodedBytes(): number {
    return this.#decoded.position;
  }

  /** Takes them out of a payload. Returns why it cannot be a span. */
  *takeOut(payload: LargePayload): Generator<void, WireError | undefined> {
    const length = payload.end - payload.start;
    for (let at = 0; at < length;) {
      const most = Math.min(length, at + STEP_BYTES);
      const end = endOfShorts(payload, at, most, length);
      this.#append(payload.buffer, payload.start + at, payload.start + end);
      at = end;
      if (this.textBytes > MOST_SHORT_BYTES) return tooLarge(at);
      if (at >= most) yield;
      else if (payload.buffer[payload.start + at] === QUOTE) {
        const result = yield* this.#decode(payload, at, length);
        if (result instanceof WireError) return result;
        at = result;
      } else {
        // It would be taken for a mark. Zero is in no JSON text either, so what follows will not be read.
        this.#append(ZERO, 0, 1);
        return undefined;
      }
    }
    return undefined;
  }

  /** Appends the long text that a mark at `at` in the text stands for. */
  append(at: number, output: ProtobufWriter): void {
    const number = new DataView(this.text.buffer).getUint32(at + 1, true);
    output.bytes(this.#decoded.buffer.subarray(this.#ends[number - 1] ?? 0, this.#ends[number]));
  }

  /** Where in the payload it is that is at an offset in the text. */
  payloadOffset(offset: number): number {
    let place = { mark: 0, payload: 0 };
    for (const next of this.#places) {
      if (next.mark > offset) break;
      place = next;
    }
    return place.payload + offset - place.mark;
  }

  #append(source: Uint8Array, start: number, end: number): void {
    const bytes = this.textBytes + end - start;
    if (bytes > this.text.length) {
      const grown = new Uint8Array(Math.max(bytes, 2 * this.text.length));
      grown.set(this.text.subarray(0, this.textBytes));
      this.text = grown;
    }
    this.text.set(source.subarray(start, end), this.textBytes);
    this.textBytes = bytes;
  }

  /** Decodes the long text whose quote is at `at`, piece by piece; returns what follows it, or what is wrong. */
  *#decode(payload: LargePayload, at: number, length: number): Generator<void, number | WireError> {
    for (let begin = at + 1;;) {
      const end = endOfPiece(payload, begin, length);
      const error = this.#decodePiece(payload, begin, end);
      if (error !== undefined) return error;
      if (end >= length) return new WireError("truncated", length, "JSON ends in the middle of a span");
      const isLast = payload.buffer[payload.start + end] === QUOTE;
      begin = end;
      yield;
      if (isLast) break;
    }
    // Found again, because the payload may lie elsewhere now.
    const end = this.#decodedEnd;
    const mark = new Uint8Array(LONG_TEXT_MARK_BYTES);
    mark[0] = LONG_TEXT;
    new DataView(mark.buffer).setUint32(1, this.#ends.length, true);
    this.#append(mark, 0, LONG_TEXT_MARK_BYTES);
    this.#ends.push(this.#decoded.position);
    this.#places.push({ mark: this.textBytes, payload: end + 1 });
    return end + 1;
  }

  /** Where the piece that was decoded last ended in the payload. */
  #decodedEnd = 0;

  #decodePiece({ buffer, start }: LargePayload, begin: number, end: number): WireError | undefined {
    this.#decodedEnd = end;
    if (vectorDecoders()?.jsonText(buffer, start + begin, start + end, this.#decoded) === true) return undefined;
    const bytes = end - begin;
    this.#quoted[0] = this.#quoted[bytes + 1] = QUOTE;
    this.#quoted.set(buffer.subarray(start + begin, start + end), 1);
    this.#piece.load(this.#quoted, 0, bytes + 2);
    this.#decoded.reserve(this.#piece.outputBytes);
    try {
      readString(this.#piece, this.#decoded);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      return new WireError(error.reason, begin + error.offset - 1, "a long text is not valid", { cause: error });
    }
    return undefined;
  }
}

const ZERO = new Uint8Array(1);

function tooLarge(at: number): WireError {
  return new WireError("too-large", at, `a span with more than ${MOST_SHORT_BYTES} bytes beside its long texts`);
}

/**
 * Passes what is outside of strings, and short strings, from `at` to `most` or somewhat further. Returns where that
 * ends: where a long string begins, or a byte that would be taken for a mark, if that is before `most`.
 */
function endOfShorts(payload: LargePayload, at: number, most: number, length: number): number {
  const { buffer, start } = payload;
  while (at < most) {
    const byte = buffer[start + at];
    if (byte === LONG_TEXT) return at;
    if (byte !== QUOTE) {
      at++;
      continue;
    }
    const end = endOfShort(payload, at, length);
    // Also one that has no end is short: whoever reads it finds out.
    if (end - at >= LONG_TEXT_BYTES) return at;
    at = end;
  }
  return at;
}

/** Where the string that begins at `at` ends, behind its quote; somewhere behind `LONG_TEXT_BYTES` if it is long. */
function endOfShort({ buffer, start }: LargePayload, at: number, length: number): number {
  const most = Math.min(length, at + LONG_TEXT_BYTES);
  for (let end = at + 1; end < most;) {
    const byte = buffer[start + end];
    if (byte === QUOTE) return end + 1;
    end += byte === BACKSLASH ? ESCAPE_BYTES : 1;
  }
  return most;
}

/**
 * Where a piece of a string ends that begins at `begin`: at the string's quote, or at a place where neither a character
 * nor an escape is cut.
 */
function endOfPiece({ buffer, start }: LargePayload, begin: number, length: number): number {
  const most = begin + STEP_BYTES;
  let end = begin;
  while (end < length) {
    const byte = buffer[start + end] as number;
    if (byte === QUOTE) return end;
    // A character's other bytes are those from 0x80 to 0xbf, and there are at most three.
    const isBoundary = (byte & 0xc0) !== 0x80 || end > most + 3;
    if (end >= most && isBoundary) return end;
    if (byte !== BACKSLASH) end++;
    else if (buffer[start + end + 1] !== LETTER_U) end += ESCAPE_BYTES;
    else end += isHighSurrogate(buffer, start + end + ESCAPE_BYTES) ? 2 * UNICODE_ESCAPE_BYTES : UNICODE_ESCAPE_BYTES;
  }
  return length;
}

/** Whether four hexadecimal digits are from d800 to dbff: the first half of a character whose other half follows. */
function isHighSurrogate(buffer: Uint8Array, at: number): boolean {
  return hexDigit(buffer[at] as number) === 0xd && (hexDigit(buffer[at + 1] as number) & ~3) === 8;
}
