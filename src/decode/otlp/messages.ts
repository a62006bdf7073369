/** Wire types. The two of groups, 3 and 4, are in no message of OTLP and refused. */
export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH_DELIMITED = 2;
export const FIXED32 = 5;

/** A field of a message. */
export interface Field {
  readonly wireType: number;
  /** Of wire type 2: what its bytes are. Without a message and no text they may be anything. */
  readonly message: Message | undefined;
  readonly isText: boolean;
  /** A bit for each field that may come once; the members of a oneof share one. 0: the field may be repeated. */
  readonly once: number;
  /** How many bytes an id has; 0: it is no id. */
  readonly size: number;
}

/** A field as it is declared below. */
interface Declaration {
  readonly wireType?: number;
  readonly message?: Message;
  readonly isText?: boolean;
  readonly repeated?: boolean;
  readonly oneof?: boolean;
  readonly size?: number;
  readonly required?: boolean;
}

/** A message type: what its known fields have to look like. */
export class Message {
  readonly name: string;
  /** By field number. */
  fields: readonly (Field | undefined)[] = [];
  /** The `once` bits of the fields that have to be there. */
  required = 0;

  constructor(name: string, fields?: Readonly<Record<number, Declaration>>) {
    this.name = name;
    if (fields !== undefined) this.define(fields);
  }

  /** For messages that contain themselves. Numbers are at most 31. */
  define(declarations: Readonly<Record<number, Declaration>>): void {
    const fields: (Field | undefined)[] = [];
    for (const [number, declaration] of Object.entries(declarations)) {
      const { wireType, message, isText, repeated, oneof, size, required } = declaration;
      // No field has number 0, so that a oneof may have its bit; no message here has two oneofs.
      const once = repeated ? 0 : oneof ? 1 : 1 << Number(number);
      if (required) this.required |= once;
      fields[Number(number)] = {
        wireType: wireType ?? LENGTH_DELIMITED,
        message,
        isText: isText ?? false,
        once,
        size: size ?? 0,
      };
    }
    // An array without holes: every number up to the highest is there.
    this.fields = Array.from(fields);
  }
}

const number: Declaration = { wireType: VARINT };
const fixed32: Declaration = { wireType: FIXED32 };
const fixed64: Declaration = { wireType: FIXED64 };
const text: Declaration = { isText: true };
const texts: Declaration = { isText: true, repeated: true };
const one = (message: Message): Declaration => ({ message });
const many = (message: Message): Declaration => ({ message, repeated: true });
const oneof = (declaration: Declaration): Declaration => ({ ...declaration, oneof: true });

// opentelemetry/proto/common/v1/common.proto

/** The one message that nests without a bound of its own. */
export const ANY_VALUE = new Message("AnyValue");
/** `key_strindex`, and below `string_value_strindex`, are of profiles only, but every decoder knows them. */
const KEY_VALUE = new Message("KeyValue", { 1: text, 2: one(ANY_VALUE), 3: number });
const ARRAY_VALUE = new Message("ArrayValue", { 1: many(ANY_VALUE) });
const KEY_VALUE_LIST = new Message("KeyValueList", { 1: many(KEY_VALUE) });
ANY_VALUE.define({
  1: oneof(text),
  2: oneof(number),
  3: oneof(number),
  4: oneof(fixed64),
  5: oneof(one(ARRAY_VALUE)),
  6: oneof(one(KEY_VALUE_LIST)),
  7: oneof({}),
  8: oneof(number),
});
const SCOPE = new Message("InstrumentationScope", {
  1: text,
  2: text,
  3: many(KEY_VALUE),
  4: number,
});
const ENTITY_REF = new Message("EntityRef", { 1: text, 2: text, 3: texts, 4: texts });

// opentelemetry/proto/resource/v1/resource.proto

const RESOURCE = new Message("Resource", { 1: many(KEY_VALUE), 2: number, 3: many(ENTITY_REF) });

// opentelemetry/proto/trace/v1/trace.proto

const EVENT = new Message("Event", { 1: fixed64, 2: text, 3: many(KEY_VALUE), 4: number });
const LINK = new Message("Link", {
  1: { size: 16, required: true },
  2: { size: 8, required: true },
  3: text,
  4: many(KEY_VALUE),
  5: number,
  6: fixed32,
});
const STATUS = new Message("Status", { 2: text, 3: number });
const SPAN = new Message("Span", {
  1: { size: 16, required: true },
  2: { size: 8, required: true },
  3: text,
  // Empty where there is no parent.
  4: { size: 8 },
  5: text,
  6: number,
  7: fixed64,
  8: fixed64,
  9: many(KEY_VALUE),
  10: number,
  11: many(EVENT),
  12: number,
  13: many(LINK),
  14: number,
  15: one(STATUS),
  16: fixed32,
});
const SCOPE_SPANS = new Message("ScopeSpans", { 1: one(SCOPE), 2: many(SPAN), 3: text });
export const RESOURCE_SPANS = new Message("ResourceSpans", {
  1: one(RESOURCE),
  2: many(SCOPE_SPANS),
  3: text,
});

// opentelemetry/proto/collector/trace/v1/trace_service.proto

export const REQUEST = new Message("ExportTraceServiceRequest", { 1: many(RESOURCE_SPANS) });
