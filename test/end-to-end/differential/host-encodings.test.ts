import assert from "node:assert/strict";
import process from "node:process";
import { describe, test } from "node:test";
import { WireError } from "../../../src/decode/wire-error.ts";
import { requestToRecords } from "../../../src/otlp/json-record.ts";
import { decodeBody } from "../../decode/support/jaeger-decode.ts";
import { JAEGER_SETS, jaegerBodies, malformedBodies } from "../../decode/support/jaeger-fixtures.ts";
import type { JaegerRecord } from "../../decode/support/jaeger-record.ts";
import { mutatedJson } from "../../decode/support/json-mutations.ts";
import { scrambled } from "../../decode/support/mutations.ts";
import { decodeJsonRequest, jsonRequest } from "../../decode/support/otlp-json.ts";
import { MEANINGFUL_KEYS, RandomBatches } from "../../decode/support/random-batch.ts";
import { RandomSpans } from "../../decode/support/random-span.ts";
import { expressible, serializeRecords } from "../../decode/support/readable-span.ts";
import {
  encodeThriftBatch,
  type ThriftBatch,
  type ThriftSpan,
  type ThriftTag,
} from "../../decode/support/thrift-encoder.ts";
import { readThriftBatch } from "../../decode/support/thrift-reference.ts";
import { translate, type Translation } from "../../runtime-exporter/programs.ts";

// The decoders of Jaeger Thrift and OTLP/JSON against the Collector's own. Where the Collector's translator of Thrift
// loses or changes what an exporter meant, docs and comments of src/decode/jaeger-thrift say what is right, and the
// test leaves that out; everything else has to be the same.

const CASES = Number(process.env["KTF_DIFFERENTIAL_CASES"] ?? 20_000);
/** Milliseconds, for as many cases as anyone has patience for. */
const LIMIT = { timeout: 7_200_000 };
const BATCH = 2_000;

/** A span of a request in OTLP/JSON, as far as it is looked at. */
interface TheirSpan {
  readonly traceId?: string;
  readonly spanId?: string;
  readonly parentSpanId?: string;
  readonly name?: string;
  readonly kind?: number;
  readonly flags?: number;
  readonly startTimeUnixNano?: string;
  readonly endTimeUnixNano?: string;
  readonly attributes?: readonly TheirAttribute[];
  readonly events?: readonly { readonly timeUnixNano?: string; readonly attributes?: readonly TheirAttribute[] }[];
  readonly links?: readonly { readonly traceId?: string; readonly spanId?: string }[];
}
interface TheirAttribute {
  readonly key?: string;
  readonly value?: unknown;
}
interface TheirRequest {
  readonly resourceSpans?: readonly {
    readonly resource?: { readonly attributes?: readonly TheirAttribute[] };
    readonly scopeSpans?: readonly { readonly spans?: readonly TheirSpan[] }[];
  }[];
}

/** Attributes that one of the translators takes for something else. */
const MEANINGFUL = new Set<string>([
  ...MEANINGFUL_KEYS,
  // The Collector gives them newer names.
  "http.status_code",
  "http.response.status_code",
  "hostname",
  "host.name",
]);

/** Attributes by key, the last of each, without those that mean something. */
function others(attributes: readonly TheirAttribute[]): Record<string, unknown> {
  const entries = attributes.map(({ key = "", value }): [string, unknown] => [key, plainValue(value)]);
  return Object.fromEntries(entries.filter(([key]) => !MEANINGFUL.has(key)));
}

/** A value as both write it: the Collector leaves out what is empty, and writes doubles without a number as strings. */
function plainValue(value: unknown): unknown {
  const [[kind, content] = ["", ""]] = Object.entries(value ?? {}) as [string, unknown][];
  if (kind === "doubleValue" && typeof content === "string") return `s:${content}`;
  if (kind === "stringValue" || kind === "") return `s:${String(content ?? "")}`;
  if (kind === "doubleValue" && content === 0) return "doubleValue:0";
  return `${kind}:${JSON.stringify(content)}`;
}

const isZero = (id: string | undefined): boolean => id === undefined || /^0*$/.test(id);
const MICROS_LIMIT = 1n << 62n;

/** Whether a span's times are within what both calculate with. */
function hasPlainTimes(span: ThriftSpan): boolean {
  const times = [
    span.startTime,
    span.startTime + span.duration,
    ...(span.logs ?? []).map(({ timestamp }) => timestamp),
  ];
  return times.every((time) => time >= 0n && time * 1000n < MICROS_LIMIT);
}

function compareSpan(ours: JaegerRecord, theirs: TheirSpan, source: ThriftSpan): void {
  assert.equal(ours.traceId, theirs.traceId);
  assert.equal(ours.spanId, theirs.spanId);
  assert.equal(ours.name, theirs.name ?? "");
  assert.equal(ours.traceFlags & 1, theirs.flags ?? 0);
  assert.deepEqual(others(ours.attributes), others(theirs.attributes ?? []));
  assert.equal(ours.startTimeUnixNano, theirs.startTimeUnixNano ?? "0");
  assert.equal(ours.endTimeUnixNano, theirs.endTimeUnixNano ?? "0");
  assert.deepEqual(
    ours.events.map(({ timeUnixNano, attributes }) => [timeUnixNano, others(attributes)]),
    (theirs.events ?? []).map(({ timeUnixNano, attributes }) => [timeUnixNano ?? "0", others(attributes ?? [])]),
  );
  const kinds = (source.tags ?? []).filter(({ key }) => String(key) === "span.kind");
  if (kinds.length === 0) assert.deepEqual([ours.kind, theirs.kind ?? 0], [1, 0]);
  // A reference into the span's own trace is its parent for the Collector, whatever it says.
  const references = source.references ?? [];
  const inTrace = references.some((ref) =>
    ref.traceIdLow === source.traceIdLow && ref.traceIdHigh === source.traceIdHigh
  );
  // One that has the parent's ID in another trace it takes for the parent's too.
  const isParents = references.some((ref) => ref.refType === 0 && ref.spanId === source.parentSpanId);
  if (inTrace || isParents) return;
  assert.equal(ours.parentSpanId, isZero(theirs.parentSpanId) ? "" : theirs.parentSpanId);
  assert.deepEqual(
    ours.links.map(({ traceId, spanId }) => [traceId, spanId]),
    (theirs.links ?? []).filter(({ traceId, spanId }) => !isZero(traceId) && !isZero(spanId))
      .map(({ traceId, spanId }) => [traceId, spanId]),
  );
}

/** Compares what became of a body that both have taken. */
function compareBatch(body: Uint8Array, ours: JaegerRecord[], theirs: TheirRequest): void {
  const source = readThriftBatch(body);
  const [resourceSpans] = theirs.resourceSpans ?? [];
  const spans = (resourceSpans?.scopeSpans ?? []).flatMap((scope) => scope.spans ?? []);
  const valid = source.spans.flatMap((span, i) => {
    const their = spans[i] as TheirSpan;
    return isZero(their.traceId) || isZero(their.spanId) || !hasPlainTimes(span) ? [] : [[span, their] as const];
  });
  for (const [span, their] of valid) {
    const our = ours.find((record) => record.traceId === their.traceId && record.spanId === their.spanId);
    // Two spans of one random batch may have one ID.
    if (our === undefined || isRepeated(spans, their)) continue;
    compareSpan(our, their, span);
    assert.deepEqual(others(our.resource), others(resourceSpans?.resource?.attributes ?? []));
  }
}

function isRepeated(spans: readonly TheirSpan[], { traceId, spanId }: TheirSpan): boolean {
  return spans.filter((span) => span.traceId === traceId && span.spanId === spanId).length > 1;
}

function inBatches(
  bodies: readonly Uint8Array[],
  use: (body: Uint8Array, translation: Translation) => void,
  encoding: "thrift" | "json",
): void {
  for (let at = 0; at < bodies.length; at += BATCH) {
    const some = bodies.slice(at, at + BATCH);
    translate(encoding, some).forEach((translation, i) => use(some[i] as Uint8Array, translation));
  }
}

/** Reasons for which this project refuses a body that Thrift's library takes, and its Collector with it. */
const STRICTER = new Set([
  // A field twice, of which the library takes the last; elements that are no structs, which it reads all the same.
  "duplicate-field",
  "invalid-tag",
  "too-large",
  "too-deep",
]);

describe("Jaeger Thrift", () => {
  /** A batch without what the library's own text cannot tell: bytes that are not UTF-8. */
  const isText = (value: string | Uint8Array): boolean =>
    typeof value === "string" || Buffer.from(value.toString()).equals(Buffer.from(value));
  const tagsOf = (batch: ThriftBatch): ThriftTag[] => [
    ...batch.processTags ?? [],
    ...batch.spans.flatMap(({ tags = [], logs = [] }) => [...tags, ...logs.flatMap(({ fields }) => fields)]),
  ];
  /** Whether every tag has a type that exists, and every text is UTF-8. */
  const isPlain = (batch: ThriftBatch): boolean =>
    tagsOf(batch).every(({ key, vType, vStr = "" }) => vType >= 0 && vType <= 4 && isText(key) && isText(vStr)) &&
    isText(batch.serviceName) && batch.spans.every(({ operationName }) => isText(operationName));

  test("recorded bodies are the same but for what is known", () => {
    const bodies = JAEGER_SETS.filter((set) => set !== "go-invalid-utf8").flatMap((set) => jaegerBodies(set));
    inBatches(bodies, (body, translation) => {
      assert.ok("spans" in translation, JSON.stringify(translation));
      compareBatch(body, decodeBody(body, true).records, translation.spans as TheirRequest);
    }, "thrift");
  });

  test("random batches are the same but for what is known", LIMIT, () => {
    const random = new RandomBatches(20_000);
    const bodies: Uint8Array[] = [];
    while (bodies.length < CASES) {
      const batch = random.batch();
      if (isPlain(batch)) bodies.push(encodeThriftBatch(batch));
    }
    inBatches(bodies, (body, translation) => {
      assert.ok("spans" in translation, JSON.stringify(translation));
      compareBatch(body, decodeBody(body, true).records, translation.spans as TheirRequest);
    }, "thrift");
  });

  test("what the library refuses is refused", LIMIT, () => {
    const random = new RandomBatches(20_001);
    const seeds = [...jaegerBodies("go-session"), ...malformedBodies().values()].filter(({ length }) =>
      length < 10_000
    );
    const bodies = Array.from({ length: CASES }, () => {
      const body = random.random.oneIn(2) ? encodeThriftBatch(random.batch()) : random.random.pick(seeds);
      return scrambled(body, random.random.pick(seeds), random.random);
    });
    const counts = { both: 0, neither: 0, stricter: 0 };
    inBatches([...malformedBodies().values(), ...bodies], (body, translation) => {
      let problem: WireError | undefined;
      try {
        decodeBody(body, true);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        problem = error;
      }
      if ("error" in translation) {
        assert.ok(problem !== undefined, `taken, but: ${translation.error}: ${Buffer.from(body).toString("hex")}`);
        counts.neither++;
      } else if (problem === undefined) counts.both++;
      else {
        assert.ok(STRICTER.has(problem.reason), `${problem.message}: ${Buffer.from(body).toString("hex")}`);
        counts.stricter++;
      }
    }, "thrift");
    assert.ok(counts.both > 50 && counts.neither > 50, JSON.stringify(counts));
    console.log(`bodies: ${JSON.stringify(counts)}`);
  });
});

/** The Collector writes an event of which nothing is set as `{}`, which is refused. */
function withoutEmptyEvents(span: ReturnType<RandomSpans["span"]>): typeof span {
  const isEmpty = (
    { timeUnixNano, name, attributes, droppedAttributesCount }: (typeof span)["events"][number],
  ): boolean => timeUnixNano === "0" && name === "" && attributes.length === 0 && droppedAttributesCount === 0;
  return { ...span, events: span.events.filter((event) => !isEmpty(event)) };
}

describe("OTLP/JSON", () => {
  const random = new RandomSpans(20_002);
  const request = (): Uint8Array => {
    const records = [random.span(), random.span()].filter(expressible).map(withoutEmptyEvents);
    return new TextEncoder().encode(JSON.stringify(jsonRequest(requestToRecords(serializeRecords(records)))));
  };
  /** What the Collector has read, by its own word in JSON, decoded as any other request. */
  const ofTheirs = (spans: unknown) => decodeJsonRequest(spans).records;

  test("random requests are the same", LIMIT, () => {
    const bodies = Array.from({ length: CASES / 10 }, request);
    inBatches(bodies, (body, translation) => {
      assert.ok("spans" in translation, JSON.stringify(translation));
      const { records, rejected } = decodeJsonRequest(new TextDecoder().decode(body));
      assert.deepEqual(rejected, {});
      assert.deepEqual(records, ofTheirs(translation.spans));
    }, "json");
  });

  test("of changed ones, what both take whole is the same", LIMIT, () => {
    const seeds = Array.from({ length: 200 }, request).filter(({ length }) => length < 6_000);
    const bodies = Array.from({ length: CASES }, () => {
      const seed = random.random.pick(seeds);
      return random.random.oneIn(2)
        ? mutatedJson(seed, random.random)
        : scrambled(seed, random.random.pick(seeds), random.random);
    });
    const counts = { same: 0, different: 0, refused: 0 };
    inBatches(bodies, (body, translation) => {
      if ("error" in translation) return;
      const text = Buffer.from(body).toString("utf8");
      // Bytes that are not UTF-8 have another length as text.
      if (!Buffer.from(text).equals(Buffer.from(body))) return;
      let ours;
      try {
        ours = decodeJsonRequest(text);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        counts.refused++;
        return;
      }
      if (Object.keys(ours.rejected).length > 0) return;
      const theirs = ofTheirs(translation.spans);
      if (JSON.stringify(ours.records) === JSON.stringify(theirs)) counts.same++;
      else counts.different++;
    }, "json");
    console.log(`requests: ${JSON.stringify(counts)}`);
    assert.ok(counts.same > 10 * counts.different, JSON.stringify(counts));
  });
});
