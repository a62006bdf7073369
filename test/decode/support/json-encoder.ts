import type { Random } from "./random.ts";
import type { AttributeRecord, SpanRecord, ValueRecord } from "./span-record.ts";

/** OTLP's kinds as serde names the variants of `SpanKind`. */
const KINDS: Readonly<Record<number, string>> = {
  1: "Internal",
  2: "Server",
  3: "Client",
  4: "Producer",
  5: "Consumer",
};
const STATUS_CODES = ["Unset", "Ok", "Error"];

/** How a span could be written that agents write in one way only. */
export interface JsonOptions {
  /**
   * Where given, everything is varied that serde_json accepts: the order of members, white space, escapes and so on.
   */
  readonly vary?: Random;
  /** The type of arrays that have no values. */
  readonly emptyArrayType?: "Bool" | "I64" | "F64" | "String";
}

/** A value that has been written. */
type Json = string;

/** Writes a record as an agent's JSON payload, with attributes in the record's order. */
export function encodeJson(record: SpanRecord, options: JsonOptions = {}): Uint8Array {
  return new TextEncoder().encode(new JsonEncoder(options).span(record));
}

class JsonEncoder {
  readonly #vary: Random | undefined;
  readonly #emptyArrayType: string;

  constructor({ vary, emptyArrayType }: JsonOptions) {
    this.#vary = vary;
    this.#emptyArrayType = emptyArrayType ?? "String";
  }

  span(record: SpanRecord): string {
    return this.#space() + this.#struct({
      span_context: this.#context(record),
      parent_span_id: String(BigInt(`0x${record.parentSpanId || "0"}`)),
      span_kind: this.#unit(KINDS[record.kind] as string),
      name: this.#text(record.name),
      start_time: this.#time(record.startTimeUnixNano),
      end_time: this.#time(record.endTimeUnixNano),
      attributes: this.#struct({
        map: this.#map(record.attributes),
        evict_list: this.#list(record.attributes.map(({ key }) => this.#text(key))),
        max_len: "128",
        dropped_count: String(record.droppedAttributesCount),
      }),
      events: this.#queue(
        record.events.map((event) =>
          this.#struct({
            name: this.#text(event.name),
            timestamp: this.#time(event.timeUnixNano),
            attributes: this.#attributes(event.attributes),
            dropped_attributes_count: String(event.droppedAttributesCount),
          })
        ),
        record.droppedEventsCount,
      ),
      links: this.#queue(
        record.links.map((link) =>
          this.#struct({
            span_context: this.#context(link),
            attributes: this.#attributes(link.attributes),
            dropped_attributes_count: String(link.droppedAttributesCount),
          })
        ),
        record.droppedLinksCount,
      ),
      status_code: this.#unit(STATUS_CODES[record.status.code] as string),
      status_message: this.#text(record.status.message),
      resource: record.resource === null ? "null" : this.#struct({ attrs: this.#map(record.resource) }),
    }, ["resource"]) + this.#space();
  }

  #context(
    context: Pick<SpanRecord, "traceId" | "spanId" | "traceFlags" | "isRemote" | "traceState">,
  ): Json {
    const pairs = context.traceState === "" ? [] : context.traceState.split(",");
    return this.#struct({
      trace_id: String(BigInt(`0x${context.traceId}`)),
      span_id: String(BigInt(`0x${context.spanId}`)),
      trace_flags: String(context.traceFlags),
      is_remote: String(context.isRemote),
      trace_state: pairs.length === 0 && !this.#vary?.oneIn(2) ? "null" : this.#list(
        pairs.map((pair) => {
          const equals = pair.indexOf("=");
          return this.#list([
            this.#text(pair.slice(0, equals)),
            this.#text(pair.slice(equals + 1)),
          ]);
        }),
      ),
    });
  }

  #time(nanoseconds: string): Json {
    let seconds = BigInt(nanoseconds) / 1_000_000_000n;
    let nanos = BigInt(nanoseconds) % 1_000_000_000n;
    if (this.#vary?.oneIn(4) && seconds > 0n && nanos < 3_000_000_000n) {
      // As SystemTime takes it: nanoseconds of more than a second.
      seconds--;
      nanos += 1_000_000_000n;
    }
    const members = { secs_since_epoch: String(seconds), nanos_since_epoch: String(nanos) };
    return this.#struct(members, [], false);
  }

  #queue(items: readonly Json[], dropped: number): Json {
    const queue = items.length === 0 && !this.#vary?.oneIn(2) ? "null" : this.#list(items);
    return this.#struct({ queue, max_len: "128", dropped_count: String(dropped) }, ["queue"]);
  }

  #map(attributes: readonly AttributeRecord[]): Json {
    return this.#object(
      attributes.map(({ key, value }) => [this.#text(key), this.#value(value)]),
    );
  }

  #attributes(attributes: readonly AttributeRecord[]): Json {
    return this.#list(
      attributes.map(({ key, value }) => this.#struct({ key: this.#text(key), value: this.#value(value) })),
    );
  }

  #value(value: ValueRecord): Json {
    if (!("arrayValue" in value)) return this.#variant(typeOf(value), this.#scalar(value));
    const [first] = value.arrayValue.values;
    return this.#variant(
      "Array",
      this.#variant(
        first === undefined ? this.#emptyArrayType : typeOf(first),
        this.#list(value.arrayValue.values.map((item) => this.#scalar(item))),
      ),
    );
  }

  #scalar(value: ValueRecord): Json {
    if ("boolValue" in value) return String(value.boolValue);
    if ("intValue" in value) return value.intValue;
    if ("stringValue" in value) return this.#text(value.stringValue);
    if ("doubleValue" in value) return this.#double(value.doubleValue);
    throw new TypeError("an array of arrays");
  }

  #double(value: number | string): Json {
    if (typeof value === "string") return "null";
    if (Object.is(value, -0)) return this.#vary?.oneIn(2) ? "-0" : "-0.0";
    const text = String(value);
    switch (this.#vary?.below(6)) {
      case 0:
        return value.toExponential(20);
      case 1:
        return text.includes("e") ? text.replace("e", "E") : `${text}e0`;
      case 2:
        return text.includes("e") ? text : `${text}${text.includes(".") ? "" : "."}000e-00`;
      default:
        return text;
    }
  }

  #variant(name: string, value: Json): Json {
    return this.#object([[this.#text(name), value]]);
  }

  #unit(name: string): Json {
    return this.#vary?.oneIn(3) ? this.#object([[this.#text(name), "null"]]) : this.#text(name);
  }

  /** `optional` members may be left out where they are null, and unknown ones added where the struct is `open`. */
  #struct(
    members: Readonly<Record<string, Json>>,
    optional: readonly string[] = [],
    open = true,
  ): Json {
    const vary = this.#vary;
    if (vary === undefined) {
      return this.#object(Object.entries(members).map(([name, value]) => [`"${name}"`, value]));
    }
    if (vary.oneIn(6)) return this.#list(Object.values(members));
    let entries = Object.entries(members).map(([name, value]): [string, Json] => [
      this.#text(name),
      value,
    ]);
    for (const name of optional) {
      if (members[name] === "null" && vary.oneIn(2)) {
        entries = entries.filter((_, index) => Object.keys(members)[index] !== name);
      }
    }
    // Most are another struct's, and could be taken for one of it.
    const unknown = vary.pick(["later", "max_len", "dropped_count", "queue", "name", "value"]);
    if (open && vary.oneIn(3) && !(unknown in members)) {
      entries.push([this.#text(unknown), vary.oneIn(2) ? "128" : this.#anything()]);
    }
    if (open && vary.oneIn(6)) entries.unshift([this.#text(""), this.#anything()]);
    if (vary.oneIn(2)) {
      // Fisher and Yates; sometimes of two members only.
      for (let i = vary.oneIn(2) ? 1 : entries.length - 1; i > 0 && i < entries.length; i--) {
        const j = vary.below(i + 1);
        [entries[i], entries[j]] = [entries[j] as [string, Json], entries[i] as [string, Json]];
      }
    }
    return this.#object(entries);
  }

  /** What an unknown member may be. */
  #anything(): Json {
    return (this.#vary as Random).pick([
      "1e999",
      "-0",
      '"\\ud800"',
      '[[],{},{"a":[null,true,false]}, "]" ]',
      '{"trace_id":1,"}":"\\""}',
      "[".repeat(100) + "]".repeat(100),
    ]);
  }

  #object(entries: readonly (readonly [Json, Json])[]): Json {
    return `{${
      this.#joined(
        entries.map(([name, value]) => `${name}${this.#space()}:${this.#space()}${value}`),
      )
    }}`;
  }

  #list(items: readonly Json[]): Json {
    return `[${this.#joined(items)}]`;
  }

  #joined(items: readonly Json[]): string {
    if (this.#vary === undefined) return items.join(",");
    return this.#space() + items.map((item) => item + this.#space()).join(`,${this.#space()}`);
  }

  #space(): string {
    const vary = this.#vary;
    return vary?.oneIn(8) ? vary.pick([" ", "\n", "\t", "\r\n", "     "]) : "";
  }

  /** As serde_json writes it; or with any character escaped. */
  #text(text: string): Json {
    const vary = this.#vary;
    // JSON.stringify escapes lone surrogates too, which no record has.
    const plain = JSON.stringify(text);
    if (!vary?.oneIn(4)) return plain;
    let escaped = "";
    for (const character of plain.slice(1, -1).match(/\\u.{4}|\\.|[^\\]/gsu) ?? []) {
      escaped += character.length === 1 && vary.oneIn(2) || /^[^\\].$/s.test(character)
        ? escapeUnits(character, vary)
        : character === "/" && vary.oneIn(2)
        ? "\\/"
        : character;
    }
    return `"${escaped}"`;
  }
}

function escapeUnits(character: string, vary: Random): string {
  let escaped = "";
  for (let i = 0; i < character.length; i++) {
    const hex = character.charCodeAt(i).toString(16).padStart(4, "0");
    escaped += `\\u${vary.oneIn(2) ? hex : hex.toUpperCase()}`;
  }
  return escaped;
}

function typeOf(value: ValueRecord): string {
  if ("boolValue" in value) return "Bool";
  if ("intValue" in value) return "I64";
  return "doubleValue" in value ? "F64" : "String";
}
