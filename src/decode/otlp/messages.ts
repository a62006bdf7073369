/** Wire types. The two of groups, 3 and 4, are in no message of OTLP and refused. */
export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH_DELIMITED = 2;
export const FIXED32 = 5;

/** What a field holds. */
export const MESSAGE = 0;
export const TEXT = 1;
export const BYTES = 2;
/** Bytes, exactly `size` of them or none. */
export const ID = 3;
/** A varint that is 0 or 1. */
export const BOOL = 4;
/** A varint below `size`. What is not is unknown, and means the same as 0. */
export const ENUM = 5;
export const UINT32 = 6;
export const INT64 = 7;
/** A fixed64 that is an integer. */
export const TIME = 8;
export const DOUBLE = 9;
export const FLAGS = 10;
export type Kind =
  | typeof MESSAGE
  | typeof TEXT
  | typeof BYTES
  | typeof ID
  | typeof BOOL
  | typeof ENUM
  | typeof UINT32
  | typeof INT64
  | typeof TIME
  | typeof DOUBLE
  | typeof FLAGS;

/** Each kind's wire type. */
const WIRE_TYPES = [
  LENGTH_DELIMITED,
  LENGTH_DELIMITED,
  LENGTH_DELIMITED,
  LENGTH_DELIMITED,
  VARINT,
  VARINT,
  VARINT,
  VARINT,
  FIXED64,
  FIXED64,
  FIXED32,
] as const;

/** A field of a message. */
export interface Field {
  readonly kind: Kind;
  readonly wireType: number;
  /** The type of a {@link MESSAGE}. */
  readonly message: Message | undefined;
  /** Of an {@link ID}, how many bytes it has; of an {@link ENUM}, the first number that means nothing. */
  readonly size: number;
  /** An ID that must have a bit set. */
  readonly nonZero: boolean;
  /** The field's number. */
  readonly number: number;
  /** The field's own bit; the members of a oneof share one. */
  readonly bit: number;
  /** The same bit, if the field may come only once; 0 if it may be repeated. */
  readonly once: number;
}

/** A field as it is declared below. */
interface Declaration {
  readonly kind: Kind;
  readonly message?: Message;
  readonly size?: number;
  readonly nonZero?: boolean;
  readonly required?: boolean;
  readonly repeated?: boolean;
  readonly oneof?: boolean;
}

/** A message type: what its known fields have to look like. */
export class Message {
  readonly name: string;
  /** By field number. */
  fields: readonly (Field | undefined)[] = [];
  /** Those that have a tag of one byte, by that byte. */
  byTag: readonly (Field | undefined)[] = [];
  /** The bits of the fields that have to be there. */
  required = 0;
  /** Whether it may have no field at all. */
  readonly mayBeEmpty: boolean;

  constructor(
    name: string,
    fields?: Readonly<Record<number, Declaration>>,
    { mayBeEmpty = true }: { readonly mayBeEmpty?: boolean } = {},
  ) {
    this.name = name;
    this.mayBeEmpty = mayBeEmpty;
    if (fields !== undefined) this.define(fields);
  }

  /** For messages that contain themselves. Numbers are at most 31. */
  define(declarations: Readonly<Record<number, Declaration>>): void {
    const fields: (Field | undefined)[] = [];
    const byTag = Array<Field | undefined>(256).fill(undefined);
    for (const [key, declaration] of Object.entries(declarations)) {
      const { kind, message, size, nonZero, required, repeated, oneof } = declaration;
      const number = Number(key);
      // No field has number 0, so that a oneof may have its bit; no message here has two oneofs.
      const bit = oneof ? 1 : 1 << number;
      if (required) this.required |= bit;
      const field: Field = {
        kind,
        wireType: WIRE_TYPES[kind],
        message,
        size: size ?? 0,
        nonZero: nonZero ?? false,
        number,
        bit,
        once: repeated ? 0 : bit,
      };
      fields[number] = field;
      const tag = number << 3 | field.wireType;
      if (tag < 0x80) byTag[tag] = field;
    }
    // An array without holes: every number up to the highest is there.
    this.fields = Array.from(fields);
    this.byTag = byTag;
  }
}

const text: Declaration = { kind: TEXT };
const bytes: Declaration = { kind: BYTES };
const bool: Declaration = { kind: BOOL };
const count: Declaration = { kind: UINT32 };
const int64: Declaration = { kind: INT64 };
const time: Declaration = { kind: TIME };
const double: Declaration = { kind: DOUBLE };
const flags: Declaration = { kind: FLAGS };
const enumeration = (size: number): Declaration => ({ kind: ENUM, size });
const one = (message: Message): Declaration => ({ kind: MESSAGE, message });
const many = (message: Message): Declaration => ({ kind: MESSAGE, message, repeated: true });
/** A repeated field that must not be empty, because a message without it costs work and says nothing. */
const some = (message: Message): Declaration => ({ ...many(message), required: true });
const oneof = (declaration: Declaration): Declaration => ({ ...declaration, oneof: true });

/** No SDK writes such a message without any field, and two bytes should not be a message each. */
const NOT_EMPTY = { mayBeEmpty: false };

// opentelemetry/proto/common/v1/common.proto

/** `string_value_strindex`, 8, has a meaning in profiles alone, so it is an unknown field here. */
const ANY_VALUE = new Message("AnyValue");
/** `key_strindex`, 3, likewise. */
const KEY_VALUE = new Message("KeyValue", { 1: text, 2: one(ANY_VALUE) }, NOT_EMPTY);
const ARRAY_VALUE = new Message("ArrayValue", { 1: many(ANY_VALUE) });
const KEY_VALUE_LIST = new Message("KeyValueList", { 1: many(KEY_VALUE) });
ANY_VALUE.define({
  1: oneof(text),
  2: oneof(bool),
  3: oneof(int64),
  4: oneof(double),
  5: oneof(one(ARRAY_VALUE)),
  6: oneof(one(KEY_VALUE_LIST)),
  7: oneof(bytes),
});
const SCOPE = new Message("InstrumentationScope", { 1: text, 2: text, 3: many(KEY_VALUE), 4: count });
const ENTITY_REF = new Message("EntityRef", {
  1: text,
  2: text,
  3: { ...text, repeated: true },
  4: { ...text, repeated: true },
}, NOT_EMPTY);

// opentelemetry/proto/resource/v1/resource.proto

const RESOURCE = new Message("Resource", { 1: many(KEY_VALUE), 2: count, 3: many(ENTITY_REF) });

// opentelemetry/proto/trace/v1/trace.proto

const EVENT = new Message("Event", { 1: time, 2: text, 3: many(KEY_VALUE), 4: count }, NOT_EMPTY);
/** The specification lets a link have IDs of zeros, as long as it has attributes or a trace state. */
const LINK = new Message("Link", {
  1: { kind: ID, size: 16, required: true },
  2: { kind: ID, size: 8, required: true },
  3: text,
  4: many(KEY_VALUE),
  5: count,
  6: flags,
});
const STATUS = new Message("Status", { 2: text, 3: enumeration(3) });
/** In `ScopeSpans.spans`. */
export const SPAN = new Message("Span", {
  1: { kind: ID, size: 16, nonZero: true, required: true },
  2: { kind: ID, size: 8, nonZero: true, required: true },
  3: text,
  // Empty, or of zeros, where there is no parent.
  4: { kind: ID, size: 8 },
  5: text,
  6: enumeration(6),
  7: time,
  8: time,
  9: many(KEY_VALUE),
  10: count,
  11: many(EVENT),
  12: count,
  13: many(LINK),
  14: count,
  15: one(STATUS),
  16: flags,
});
/** In `ResourceSpans.scope_spans`. */
export const SCOPE_SPANS = new Message("ScopeSpans", { 1: one(SCOPE), 2: some(SPAN), 3: text });
export const RESOURCE_SPANS = new Message("ResourceSpans", { 1: one(RESOURCE), 2: some(SCOPE_SPANS), 3: text });

// opentelemetry/proto/collector/trace/v1/trace_service.proto

export const REQUEST = new Message("ExportTraceServiceRequest", { 1: some(RESOURCE_SPANS) });
