import { Buffer } from "node:buffer";
import { type EncodedSpans, RANGES_PER_SPAN } from "../otlp/encoded-spans.ts";
import { copyBytes } from "../otlp/put-bytes.ts";
import type { ProtobufWriter } from "../otlp/protobuf-writer.ts";
import { INPUT, MOST_INPUT, MOST_SPANS, OUTPUT, RANGES } from "./module-memory.ts";
import { writeFieldTable } from "./otlp/field-table.ts";
import moduleText from "./wasm/dist/decoders.txt" with { type: "text" };

/** What wasm/index.ts exports. */
interface Exports {
  readonly memory: WebAssembly.Memory;
  decodeJson(length: number): number;
  decodeBincode(length: number): number;
  decodeFrames(length: number, isJson: number): number;
  decodeJsonText(length: number): number;
  decodeOtlp(length: number): number;
}

/**
 * The decoders in WebAssembly. They take what agents usually send, and for that do the same as the decoders in
 * TypeScript, only several times as fast; anything else, and all that is wrong, they leave to these.
 */
class VectorDecoders {
  readonly #exports: Exports;
  /** The module's memory, which never grows, so this stays. */
  readonly #bytes: Uint8Array<ArrayBuffer>;
  /** The same bytes. */
  readonly #view: DataView<ArrayBuffer>;
  /** Where the span and the resource begin and end. */
  readonly #result: Int32Array<ArrayBuffer>;
  /** The spans of a request. */
  readonly #ranges: Int32Array<ArrayBuffer>;
  /** Who may still use what is in the memory. */
  #borrower: ProtobufWriter | undefined;

  constructor(module: WebAssembly.Module) {
    this.#exports = new WebAssembly.Instance(module).exports as unknown as Exports;
    const buffer = this.#exports.memory.buffer as ArrayBuffer;
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    this.#result = new Int32Array(buffer, 0, 4);
    this.#ranges = new Int32Array(buffer, RANGES, MOST_SPANS * RANGES_PER_SPAN);
    writeFieldTable(this.#view);
  }

  /** How large the module's memory is. */
  get memoryBytes(): number {
    return this.#bytes.length;
  }

  // Lengths are made integers, because the engine calls WebAssembly through a slow wrapper once it has seen a double.

  /** Decodes a payload in JSON; false if that is left to `decodeJson`, and nothing has been written then. */
  json(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): boolean {
    if (!this.#load(buffer, start, end) || this.#exports.decodeJson((end - start) | 0) === 0) return false;
    this.#take(spans);
    return true;
  }

  /** The same for bincode and `decodeBincode`. */
  bincode(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): boolean {
    if (!this.#load(buffer, start, end) || this.#exports.decodeBincode((end - start) | 0) === 0) return false;
    this.#take(spans);
    return true;
  }

  /**
   * Decodes whole frames that follow each other, `buffer[start … end)`, headers included, with a span each in JSON or
   * in bincode, up to the first whose payload is left to the decoder in TypeScript. Returns how many that were; 0 also
   * if something is in `spans` already.
   */
  frames(isJson: boolean, buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): number {
    const { writer } = spans;
    if (writer.position > 0 || !this.#load(buffer, start, end)) return 0;
    const count = this.#exports.decodeFrames((end - start) | 0, isJson ? 1 : 0);
    if (count > 0) this.#lend(spans, count);
    return count;
  }

  /** The same for a request in OTLP and `decodeOtlp`, if nothing is in `spans`. */
  otlp(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): boolean {
    const { writer } = spans;
    if (writer.position > 0 || !this.#load(buffer, start, end)) return false;
    const count = this.#exports.decodeOtlp((end - start) | 0);
    if (count === 0) return false;
    this.#lend(spans, count);
    return true;
  }

  /** As {@link otlp}, but undefined if it is left to `decodeOtlp`, and false if that would refuse it. */
  isOtlp(buffer: Uint8Array, start: number, end: number, spans: EncodedSpans): boolean | undefined {
    if (this.otlp(buffer, start, end, spans)) return true;
    return spans.writer.position > 0 || end - start > MOST_INPUT ? undefined : false;
  }

  /** Decodes what is between the quotes of a JSON string; false likewise. */
  jsonText(buffer: Uint8Array, start: number, end: number, output: ProtobufWriter): boolean {
    const length = this.#load(buffer, start, end) ? this.#exports.decodeJsonText((end - start) | 0) : -1;
    if (length < 0) return false;
    this.#append(OUTPUT, OUTPUT + length, output);
    return true;
  }

  #load(buffer: Uint8Array, start: number, end: number): boolean {
    if (end - start > MOST_INPUT) return false;
    const borrower = this.#borrower;
    if (borrower !== undefined && borrower.position > 0) borrower.keep();
    this.#borrower = undefined;
    Buffer.prototype.copy.call(buffer as Buffer, this.#bytes, INPUT, start, end);
    return true;
  }

  /** Lends several decoded spans to `spans`, which reads them where they are. */
  #lend(spans: EncodedSpans, count: number): void {
    const { writer } = spans;
    this.#borrower = writer;
    writer.borrow(this.#bytes, this.#view, this.#result[1] as number);
    spans.setRanges(this.#ranges, count);
  }

  #take(spans: EncodedSpans): void {
    const { writer } = spans;
    const result = this.#result;
    const spanStart = result[0] as number;
    const spanEnd = result[1] as number;
    const resourceStart = result[2] as number;
    const resourceEnd = result[3] as number;
    let moved = 0;
    if (writer.position === 0) {
      this.#borrower = writer;
      writer.borrow(this.#bytes, this.#view, resourceEnd);
    } else {
      moved = writer.position - spanStart;
      this.#append(spanStart, resourceEnd, writer);
    }
    spans.setResource(resourceStart + moved, resourceEnd + moved);
    spans.add(spanStart + moved, spanEnd + moved);
  }

  #append(start: number, end: number, writer: ProtobufWriter): void {
    writer.reserve(end - start);
    copyBytes(this.#bytes, start, end, writer.buffer, writer.position);
    writer.position += end - start;
  }
}

/** The one instance; undefined before it is needed, null where there is no WebAssembly with vectors. */
let instance: VectorDecoders | null | undefined;

/**
 * The decoders in WebAssembly. Null where the runtime has none, because it may not make memory executable or the
 * processor has no vectors that the runtime uses: everything works without them, only slower.
 */
export function vectorDecoders(): VectorDecoders | null {
  if (instance === undefined) instance = load();
  return instance;
}

function load(): VectorDecoders | null {
  try {
    return new VectorDecoders(new WebAssembly.Module(Buffer.from(String(moduleText), "base64")));
  } catch {
    return null;
  }
}
