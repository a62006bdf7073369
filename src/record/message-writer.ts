import { Buffer } from "node:buffer";
import { jsonText } from "../base/log.ts";
import { characterStart } from "../base/utf8-cut.ts";
import { ProtobufError, ProtobufReader } from "../otlp/protobuf-reader.ts";
import { type Field, type Message, SPAN, type Strings } from "./otlp-json-fields.ts";
import { PIECE_CHARACTERS, PIECE_STEPS, STEP_BYTES } from "./pieces.ts";

/** How many fields one step looks at. */
const STEP_FIELDS = 64;
/**
 * How many messages may be nested in each other. Protobuf's decoders take 100, and what is received is held to that;
 * here it only bounds the memory.
 */
const MOST_MESSAGES = 320;

/** Texts of so many bytes are first tried as {@link plainText}. */
const SHORT_BYTES = 16;
const [SPACE, QUOTE, BACKSLASH, DELETE] = [0x20, 0x22, 0x5c, 0x7f];
const ASCII: readonly string[] = Array.from({ length: DELETE }, (_, code) => String.fromCharCode(code));

/** A message that is being written, and how far that is. */
class Frame {
  type: Message = SPAN;
  readonly reader = new ProtobufReader(new Uint8Array());
  end = 0;
  /** Where the first and the last field of each kind begin, by its place among the type's fields; -1 if none is there. */
  readonly first: number[] = [];
  readonly last: number[] = [];
  /** The place of the last field that is known; -1 if none is there. */
  lastPlace = -1;
  /** The place of the field that is written next. */
  place = 0;
  isScanned = false;
  /** How many values of a repeated field are written; -1 before it begins. */
  values = -1;
  /** What follows the last field. */
  close = "";
}

/** A string or bytes of which a part is written. */
interface LongValue {
  readonly bytes: Uint8Array;
  readonly kind: Strings;
  at: number;
}

/**
 * Writes messages as JSON in small steps. What is nested is a stack of its own instead of calls, because generators
 * that call each other for every value would take most of the time.
 */
export class MessageWriter {
  /** What is written and not handed out. */
  text = "";
  #frames: Frame[] = [];
  #depth = 0;
  #long: LongValue | undefined;
  #steps = 0;
  readonly #negativeZero: string;

  /** @param negativeZero what a double that is -0 becomes: JSON's -0 is read as 0 by some. */
  constructor(negativeZero = '"-0"') {
    this.#negativeZero = negativeZero;
  }

  /** Writes a message, and `close` instead of its last brace. */
  *write(type: Message, bytes: Uint8Array, close: string): Generator<string> {
    this.#push(type, bytes, 0, bytes.length, close);
    while (this.#depth > 0) {
      this.#step(this.#frames[this.#depth - 1] as Frame);
      if (this.text.length < PIECE_CHARACTERS && ++this.#steps < PIECE_STEPS) continue;
      yield this.text;
      this.text = "";
      this.#steps = 0;
    }
  }

  #push(type: Message, buffer: Uint8Array, start: number, end: number, close: string): void {
    if (this.#depth >= MOST_MESSAGES) throw new ProtobufError("nested too deep", start);
    const frame = this.#frames[this.#depth] ??= new Frame();
    this.#depth++;
    frame.type = type;
    frame.reader.load(buffer, start, end);
    frame.end = end;
    for (let place = 0; place < type.fields.length; place++) frame.first[place] = frame.last[place] = -1;
    frame.lastPlace = -1;
    frame.place = 0;
    frame.isScanned = false;
    frame.values = -1;
    frame.close = close;
    this.text += "{";
  }

  #close(frame: Frame): void {
    this.text += frame.close;
    this.#depth--;
  }

  #step(frame: Frame): void {
    if (this.#long !== undefined) this.#continueLong(this.#long);
    else if (!frame.isScanned) this.#scan(frame);
    else if (frame.values >= 0) this.#writeNextValue(frame, frame.type.fields[frame.place] as Field);
    else this.#writeFields(frame);
  }

  /** Finds where the fields are. */
  #scan(frame: Frame): void {
    const { reader, type, first, last } = frame;
    for (let looks = 0; looks < STEP_FIELDS; looks++) {
      if (!reader.next()) {
        frame.isScanned = true;
        if (type.isOneof) frame.place = frame.lastPlace < 0 ? type.fields.length : frame.lastPlace;
        return;
      }
      const place = type.places[reader.tag] ?? -1;
      if (place < 0) continue;
      if ((first[place] as number) < 0) first[place] = reader.fieldStart;
      last[place] = reader.fieldStart;
      frame.lastPlace = place;
    }
  }

  /** Writes fields up to one that needs steps of its own. */
  #writeFields(frame: Frame): void {
    const { type: { fields, isOneof }, reader, first, last } = frame;
    for (; frame.place < fields.length; frame.place++) {
      const { place } = frame;
      const field = fields[place] as Field;
      const at = last[place] as number;
      if (place > 0 && !isOneof) this.text += ",";
      if (at < 0) {
        this.text += field.absent;
        continue;
      }
      this.text += field.label;
      if (field.isRepeated) {
        this.text += "[";
        frame.values = 0;
        reader.reset(first[place] as number, frame.end);
        return;
      }
      reader.reset(at, frame.end);
      reader.next();
      const { kind } = field;
      if (isOneof) frame.place = fields.length;
      if (typeof kind === "function") this.text += kind(reader, this.#negativeZero);
      else if (typeof kind === "string") this.#writeString(kind, reader);
      else this.#push(kind, reader.buffer, reader.start, reader.end, "}");
      if (typeof kind === "object" || this.#long !== undefined) {
        if (!isOneof) frame.place++;
        return;
      }
    }
    this.#close(frame);
  }

  /** Begins the next value of a repeated field, or ends the field. */
  #writeNextValue(frame: Frame, field: Field): void {
    const { reader, place } = frame;
    const last = frame.last[place] as number;
    for (let looks = 0; looks < STEP_FIELDS; looks++) {
      if (last < 0 || reader.position > last) {
        this.text += "]";
        frame.values = -1;
        frame.place++;
        return;
      }
      reader.next();
      if (reader.tag !== field.tag) continue;
      if (frame.values++ > 0) this.text += ",";
      this.#push(field.kind as Message, reader.buffer, reader.start, reader.end, "}");
      return;
    }
  }

  #writeString(kind: Strings, { buffer, start, end }: ProtobufReader): void {
    if (kind === "text" && end - start <= SHORT_BYTES) {
      const plain = plainText(buffer, start, end);
      if (plain !== undefined) {
        this.text += plain;
        return;
      }
    }
    const bytes = buffer.subarray(start, end);
    this.text += '"';
    if (bytes.length <= STEP_BYTES) this.text += `${contentOfString(kind, bytes)}"`;
    else this.#long = { bytes, kind, at: 0 };
  }

  #continueLong(long: LongValue): void {
    const { bytes, kind, at } = long;
    let end = Math.min(at + STEP_BYTES, bytes.length);
    if (kind === "text") end = characterStart(bytes, end);
    this.text += contentOfString(kind, bytes.subarray(at, end));
    long.at = end;
    if (end < bytes.length) return;
    this.text += '"';
    this.#long = undefined;
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

/** A short text as JSON, if all of it is ASCII that stands for itself there; much faster than a call into the runtime. */
function plainText(buffer: Uint8Array, start: number, end: number): string | undefined {
  let text = '"';
  for (let at = start; at < end; at++) {
    const byte = buffer[at] as number;
    if (byte < SPACE || byte >= DELETE || byte === QUOTE || byte === BACKSLASH) return undefined;
    text += ASCII[byte] as string;
  }
  return `${text}"`;
}

/** What is between the quotation marks. */
function contentOfString(kind: Strings, bytes: Uint8Array): string {
  if (kind === "text") return jsonText(UTF8.decode(bytes)).slice(1, -1);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString(kind);
}
