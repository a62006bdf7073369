import { FIELDS, KNOWN, REQUIRED } from "../module-memory.ts";
import { type Field, type Message, RESOURCE_SPANS, SCOPE_SPANS, SPAN } from "./messages.ts";

// How the WebAssembly module is told what messages have which fields. See wasm/otlp.ts, which reads it.

/** Tags of one byte. */
const TAGS = 128;
const U32_BYTES = 4;

const SUB_SHIFT = 4;
const SIZE_SHIFT = 8;
const BIT_SHIFT = 16;
const ONCE = 1 << 21;
const NON_ZERO = 1 << 22;
const MUST_BE = 1 << 23;
/** Anything at all is required. */
const NOT_EMPTY = 1 << 31;

/** All messages below a request: first those that the module knows by their place. */
function allMessages(): Message[] {
  const shared = [RESOURCE_SPANS, SCOPE_SPANS].map(({ fields }) => fields[1]?.message as Message);
  const attribute = SPAN.fields[9]?.message as Message;
  const messages = [SPAN, ...shared, SCOPE_SPANS, RESOURCE_SPANS, attribute];
  // The list grows meanwhile.
  for (const { fields } of messages) {
    for (const field of fields) {
      if (field?.message !== undefined && !messages.includes(field.message)) messages.push(field.message);
    }
  }
  return messages;
}

/** Writes the table into the module's memory. */
export function writeFieldTable(memory: DataView): void {
  const messages = allMessages();
  messages.forEach(({ fields, required, mayBeEmpty }, place) => {
    let known = 0;
    for (const field of fields) {
      if (field === undefined) continue;
      known |= 1 << field.number;
      const tag = field.number << 3 | field.wireType;
      const entry = FIELDS + (place * TAGS + tag) * U32_BYTES;
      if (tag < TAGS) memory.setUint32(entry, describe(field, required, messages), true);
    }
    memory.setUint32(KNOWN + place * U32_BYTES, known, true);
    memory.setUint32(REQUIRED + place * U32_BYTES, required | (mayBeEmpty ? 0 : NOT_EMPTY), true);
  });
}

/** Never 0. */
function describe({ kind, message, size, nonZero, bit, once }: Field, required: number, messages: Message[]): number {
  return kind |
    (message === undefined ? 0 : messages.indexOf(message) << SUB_SHIFT) |
    (size << SIZE_SHIFT) |
    ((31 - Math.clz32(bit)) << BIT_SHIFT) |
    (once === 0 ? 0 : ONCE) |
    (nonZero ? NON_ZERO : 0) |
    ((required & bit) === 0 ? 0 : MUST_BE);
}
