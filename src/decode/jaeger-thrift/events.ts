import type { ProtobufWriter } from "../../otlp/protobuf-writer.ts";
import * as otlp from "../../otlp/trace-fields.ts";
import { Nanoseconds } from "./nanoseconds.ts";
import * as tags from "./tags.ts";
import { Text } from "./text.ts";
import * as thrift from "./thrift-input.ts";

const TIMESTAMP = 1;
const FIELDS = 2;
const LOG = new thrift.Struct("Log", { [TIMESTAMP]: thrift.I64, [FIELDS]: thrift.LIST });

/** A span's logs, which are events in OTLP. */
export class Events {
  readonly #input: thrift.ThriftInput;
  readonly #fields: tags.TagList;
  readonly #time = new Nanoseconds();
  readonly #name = new Text();

  constructor(input: thrift.ThriftInput) {
    this.#input = input;
    this.#fields = new tags.TagList(input);
  }

  /** Lets go of the body. */
  release(): void {
    this.#fields.release();
    this.#name.release();
  }

  /**
   * Reads the logs that begin at `at`, and appends them. Returns false if the time of one cannot be told in OTLP.
   *
   * @param isOld the Go exporter up to 0.15 has written them: an event's name is the last field, `name`.
   */
  write(writer: ProtobufWriter, at: number, isOld: boolean): boolean {
    const input = this.#input;
    const fields = this.#fields;
    const time = this.#time;
    let inRange = true;
    input.at = at;
    for (let left = input.structs("logs"); left > 0; left--) {
      for (let seen = 0; (seen = input.next(LOG, seen)) !== thrift.END;) {
        if (input.id === FIELDS) fields.read();
        else {
          input.i64();
          if (!time.take(input.low, input.high)) inRange = false;
        }
      }
      this.#write(writer, isOld);
    }
    return inRange;
  }

  #write(writer: ProtobufWriter, isOld: boolean): void {
    const fields = this.#fields;
    const event = writer.openMessage(otlp.SPAN_EVENTS);
    this.#time.write(writer, otlp.EVENT_TIME);
    const name = isOld ? oldName(fields) : fields.first(tags.EVENT_NAME, tags.TYPE_STRING);
    if (name >= 0) {
      this.#name.take(this.#input.bytes, fields.valueStart(name), fields.valueLength(name));
      this.#name.writeUnlessEmpty(writer, otlp.EVENT_NAME);
      fields.consume(name);
    }
    const dropped = fields.last(tags.DROPPED_ATTRIBUTES, tags.TYPE_LONG);
    const count = dropped < 0 ? -1 : fields.uint32(dropped);
    if (count >= 0) fields.consume(dropped);
    fields.writeList(writer, otlp.EVENT_ATTRIBUTES);
    if (count > 0) {
      writer.byte(otlp.EVENT_DROPPED_ATTRIBUTES);
      writer.varint(count);
    }
    writer.closeMessage(event);
  }
}

function oldName(fields: tags.TagList): number {
  const last = fields.count - 1;
  return fields.is(last, tags.OLD_EVENT_NAME, tags.TYPE_STRING) ? last : -1;
}
