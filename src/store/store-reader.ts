import { Buffer } from "node:buffer";
import { readResource, spanToRecord } from "../otlp/json-record.ts";
import type { AnyValueRecord, KeyValueRecord, SpanRecord } from "../otlp/span-record.ts";
import { ProtobufWriter } from "../otlp/protobuf-writer.ts";
import { SCOPE_SPANS_SPANS } from "../otlp/trace-fields.ts";
import { attributeText, valueText } from "./attribute-text.ts";
import { type LargeValue, unpackBlob } from "./span-body.ts";
import type { Side } from "./span-source.ts";
import { bytesOf, type StoreDatabase } from "./store-database.ts";
import type { TraceStore } from "./trace-store.ts";

/** A sandbox as the store knows it. */
export interface StoredSandbox {
  readonly id: number;
  readonly sid: string;
  readonly label: string;
  readonly isRunning: boolean;
  readonly baseNs: bigint;
  readonly spans: number;
  readonly notKept: number;
  readonly errors: number;
  readonly bytes: number;
  /** What was computed of it last, if it is still true. */
  readonly summary: string | undefined;
}

/** A span without its attributes. */
export interface StoredSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly side: Side;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly error: boolean;
}

/** A span with all that is stored of it. `cut` has how many characters were cut off attributes, by their place. */
export interface StoredRecord {
  readonly side: Side;
  /** As the span's source wrote it: see `SpanHead`. */
  readonly traceId: string;
  readonly record: SpanRecord;
  readonly cut: ReadonlyMap<number, number>;
}

const SANDBOX_COLUMNS = `id, sid, label, state, CAST(base_ns AS TEXT) AS base_ns, spans, not_kept, errors, bytes,
  CASE WHEN summary_spans = spans THEN summary END AS summary`;

/** Reads from a store. */
export class StoreReader {
  readonly #database: StoreDatabase;

  constructor({ database }: TraceStore) {
    this.#database = database;
  }

  /** All sandboxes, the youngest first. */
  sandboxes(): StoredSandbox[] {
    return this.#database.all(`SELECT ${SANDBOX_COLUMNS} FROM sandbox ORDER BY base_ns DESC, sid`).map(sandboxOf);
  }

  sandbox(sid: string): StoredSandbox | undefined {
    const row = this.#database.all(`SELECT ${SANDBOX_COLUMNS} FROM sandbox WHERE sid = ?`, sid)[0];
    return row && sandboxOf(row);
  }

  /**
   * Remembers what was computed of a sandbox, until another span of it comes. Does nothing if the store is only read.
   */
  saveSummary({ id, spans }: StoredSandbox, summary: string): void {
    if (this.#database.isReadOnly) return;
    // On a full disk it is computed again.
    this.#database.tryRun("UPDATE sandbox SET summary = ?, summary_spans = ? WHERE id = ?", summary, spans, id);
  }

  spans(sandbox: StoredSandbox): StoredSpan[] {
    return this.#database.all(
      `SELECT lower(hex(trace)) AS trace, lower(hex(span)) AS span, lower(hex(parent)) AS parent, op.name AS name,
        op.side AS side, CAST(start AS TEXT) AS start, CAST(dur AS TEXT) AS dur, error
        FROM span JOIN op ON op.id = span.op WHERE sandbox = ?`,
      sandbox.id,
    ).map((row): StoredSpan => {
      const startNs = BigInt.asUintN(64, BigInt(String(row["start"])));
      return {
        traceId: String(row["trace"]),
        spanId: String(row["span"]),
        parentSpanId: String(row["parent"]),
        name: String(row["name"]),
        side: row["side"] as Side,
        startNs,
        endNs: startNs + BigInt(String(row["dur"])),
        error: row["error"] === 1,
      };
    });
  }

  /** One span; without a trace ID the first with the span ID. */
  span(sandbox: StoredSandbox, spanId: string, traceId?: string): StoredRecord | undefined {
    for (
      const record of this.#records(sandbox, "AND span = ? AND (? = '' OR lower(hex(trace)) = ?)", [
        bytesOf(spanId),
        traceId ?? "",
        traceId ?? "",
      ])
    ) return record;
    return undefined;
  }

  /** All spans with their attributes, by start. */
  records(sandbox: StoredSandbox): Iterable<StoredRecord> {
    return this.#records(sandbox, "ORDER BY start", []);
  }

  /**
   * The value of an attribute, as text, for each span that has it, of itself or of its resource. Only the attributes'
   * keys are decoded of the others: a debug text may have megabytes.
   */
  *attributeValues(
    sandbox: StoredSandbox,
    key: string,
  ): Generator<{ readonly spanId: string; readonly value: string }> {
    const ofResource = new Map<string, string | undefined>();
    const rows = this.#database.all(
      "SELECT lower(hex(span)) AS span, hex(resource) AS resource, large, body FROM span WHERE sandbox = ?",
      sandbox.id,
    );
    for (const row of rows) {
      const hash = String(row["resource"]);
      if (!ofResource.has(hash)) {
        const { attributes } = readResource(this.#blob(sandbox, bytesOf(hash)));
        const found = attributes.find((one) => one.key === key);
        ofResource.set(hash, found && valueText(found.value));
      }
      const large = row["large"] === null ? undefined : (JSON.parse(String(row["large"])) as LargeValue[])
        .find((one) => one.key === key);
      const value = attributeText(row["body"] as Uint8Array, key) ??
        (large && this.#text(sandbox, large.hash).stringValue) ?? ofResource.get(hash);
      if (value !== undefined) yield { spanId: String(row["span"]), value };
    }
  }

  /** The attributes of a sandbox's resources, each once. */
  resources(sandbox: StoredSandbox): SpanRecord["resource"][] {
    const rows = this.#database.all("SELECT DISTINCT resource FROM span WHERE sandbox = ?", sandbox.id);
    return rows.map((row) => readResource(this.#blob(sandbox, row["resource"] as Uint8Array)));
  }

  *#records(sandbox: StoredSandbox, where: string, values: (string | Uint8Array)[]): Generator<StoredRecord> {
    const rows = this.#database.all(
      `SELECT op.side AS side, lower(hex(trace)) AS trace, resource, scope, large, body
        FROM span JOIN op ON op.id = span.op WHERE sandbox = ? ${where}`,
      sandbox.id,
      ...values,
    );
    for (const row of rows) yield this.#record(sandbox, row);
  }

  #record(sandbox: StoredSandbox, row: Record<string, unknown>): StoredRecord {
    const resource = this.#blob(sandbox, row["resource"] as Uint8Array);
    const scope = this.#blob(sandbox, row["scope"] as Uint8Array);
    const record = spanToRecord(resource, scope, spanField(row["body"] as Uint8Array));
    const large = row["large"] === null ? [] : JSON.parse(String(row["large"])) as LargeValue[];
    const attributes: KeyValueRecord[] = [...record.attributes];
    const cut = new Map<number, number>();
    for (const value of large) {
      attributes.splice(value.index, 0, { key: value.key, value: this.#text(sandbox, value.hash) });
      if (value.cut > 0) cut.set(value.index, value.cut);
    }
    return { side: row["side"] as Side, traceId: String(row["trace"]), record: { ...record, attributes }, cut };
  }

  #text(sandbox: StoredSandbox, hash: string): AnyValueRecord {
    return { stringValue: Buffer.from(this.#blob(sandbox, bytesOf(hash))).toString("utf8") };
  }

  #blob(sandbox: StoredSandbox, hash: Uint8Array): Uint8Array {
    const row = this.#database.all("SELECT body FROM blob WHERE sandbox = ? AND hash = ?", sandbox.id, hash)[0];
    return row === undefined ? new Uint8Array() : unpackBlob(row["body"] as Uint8Array);
  }
}

function sandboxOf(row: Record<string, unknown>): StoredSandbox {
  return {
    id: Number(row["id"]),
    sid: String(row["sid"]),
    label: String(row["label"]),
    isRunning: row["state"] === "running",
    baseNs: BigInt.asUintN(64, BigInt(String(row["base_ns"]))),
    spans: Number(row["spans"]),
    notKept: Number(row["not_kept"]),
    errors: Number(row["errors"]),
    bytes: Number(row["bytes"]),
    summary: row["summary"] === null ? undefined : String(row["summary"]),
  };
}

/** A `Span` as the field of `ScopeSpans` that it was. */
function spanField(body: Uint8Array): Uint8Array {
  const writer = new ProtobufWriter(body.length + 8);
  const field = writer.openMessage(SCOPE_SPANS_SPANS);
  writer.bytes(body);
  writer.closeMessage(field);
  return writer.buffer.slice(0, writer.position);
}
