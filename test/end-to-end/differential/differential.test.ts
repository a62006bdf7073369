import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { decodeBincode } from "../../../src/decode/bincode/decoder.ts";
import { decodeJson } from "../../../src/decode/json/decoder.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { encodeBincode } from "../../decode/support/bincode-encoder.ts";
import { decodeEncodedSpans } from "../../decode/support/decode-span.ts";
import { concatenate, fixture, FIXTURES, frame, splitFrames } from "../../decode/support/fixtures.ts";
import { encodeJson } from "../../decode/support/json-encoder.ts";
import { mutatedJson, replacedValue } from "../../decode/support/json-mutations.ts";
import { changedBytes, extremeLengths, scrambled } from "../../decode/support/mutations.ts";
import { readBincode } from "../../decode/support/bincode-reference.ts";
import { REAL_STREAMS, streamBytes, TRACED_STREAMS } from "../../decode/support/recorded-streams.ts";
import { tightSpans } from "../../decode/support/otlp-tight-spans.ts";
import { RandomSpans } from "../../decode/support/random-span.ts";
import { asOtlp, asRecorded, type SpanRecord } from "../../decode/support/span-record.ts";

// The decoders against the crates that agents use, opentelemetry 0.14 with bincode 1.3 and opentelemetry 0.17 with
// serde_json: what they refuse is refused, and what they accept comes out as they read it. `KTF_DIFFERENTIAL_CASES` is
// how many payloads of each kind.

const CASES = Number(process.env["KTF_DIFFERENTIAL_CASES"] ?? 20_000);
/** Milliseconds, for as many cases as anyone has patience for. */
const LIMIT = { timeout: 7_200_000 };
/** Payloads that are judged together: the oracle reads them all before it is read. */
const BATCH = 4_000;
const ORACLE_OUTPUT_BYTES = 1 << 30;
/** The first nanosecond that 64 bits do not hold. */
const TIME_LIMIT = 1n << 64n;

type Encoding = "bincode" | "json";
/** A span, or why it is none. */
type Verdict = SpanRecord | { readonly error: string };

let spans = tightSpans();

/** What the crates make of each payload. */
function judge(encoding: Encoding, payloads: readonly Uint8Array[]): Verdict[] {
  const oracle = process.env["KTF_AGENT"];
  if (oracle === undefined || oracle === "") {
    throw new Error("KTF_AGENT must be the path of kata-agent-side, as test/agent/build prints it");
  }
  const { status, stdout, stderr, error } = spawnSync(oracle, ["decode", "--encoding", encoding], {
    input: concatenate(payloads.map(frame)),
    maxBuffer: ORACLE_OUTPUT_BYTES,
  });
  assert.ifError(error);
  assert.equal(status, 0, String(stderr));
  const lines = stdout.toString().split("\n").slice(0, -1);
  assert.equal(lines.length, payloads.length);
  return lines.map((line) => JSON.parse(line) as Verdict);
}

/** What this project makes of a payload, where it takes it. */
function decode(encoding: Encoding, payload: Uint8Array): WireError | undefined {
  spans = tightSpans();
  try {
    (encoding === "json" ? decodeJson : decodeBincode)(payload, 0, payload.length, spans);
    return undefined;
  } catch (error) {
    // Anything else is a defect here.
    if (error instanceof WireError) return error;
    throw error;
  }
}

function isBeyondTime(span: SpanRecord): boolean {
  const times = [span.startTimeUnixNano, span.endTimeUnixNano];
  return [...times, ...span.events.map((event) => event.timeUnixNano)]
    .some((time) => BigInt(time) >= TIME_LIMIT);
}

function isWithoutId(span: SpanRecord): boolean {
  return /^0+$/.test(span.traceId) || /^0+$/.test(span.spanId);
}

interface Counts {
  taken: number;
  refused: number;
  /** Where this project differs on purpose. */
  exceptions: { [why: string]: number };
}

function compare(encoding: Encoding, payload: Uint8Array, verdict: Verdict, counts: Counts): void {
  const refusal = decode(encoding, payload);
  const shown = () =>
    encoding === "json" ? Buffer.from(payload).toString("latin1") : Buffer.from(payload).toString("hex");
  const except = (why: string) => counts.exceptions[why] = (counts.exceptions[why] ?? 0) + 1;
  if ("error" in verdict) {
    if (refusal !== undefined) counts.refused++;
    else if (encoding === "json" && verdict.error.startsWith("invalid type: null, expected f64")) {
      // What serde_json writes for a double that is not finite, it does not read.
      except("null is NaN");
    } else assert.fail(`taken, but ${verdict.error}: ${shown()}`);
    return;
  }
  if (refusal === undefined) {
    counts.taken++;
    const [span, ...more] = decodeEncodedSpans(spans);
    assert.ok(span !== undefined && more.length === 0);
    const reading = asRecorded(span, verdict);
    if (!isDeepStrictEqual(reading, asOtlp(verdict))) {
      assert.deepEqual(reading, asOtlp(verdict), shown());
    }
  } else if (refusal.reason === "invalid-value" && isWithoutId(verdict)) {
    // Collectors on their way to Zipkin refuse a whole batch for it.
    except("an ID of zeros");
  } else if (refusal.reason === "time-out-of-range" && isBeyondTime(verdict)) {
    // OTLP has no room for it.
    except("time beyond 64 bits of nanoseconds");
  } else assert.fail(`${refusal.message}, but it is a span: ${shown()}`);
}

function check(encoding: Encoding, cases: number, make: () => Uint8Array): Counts {
  const counts: Counts = { taken: 0, refused: 0, exceptions: {} };
  for (let left = cases; left > 0; left -= BATCH) {
    const payloads = Array.from({ length: Math.min(left, BATCH) }, make);
    const verdicts = judge(encoding, payloads);
    payloads.forEach((payload, i) => compare(encoding, payload, verdicts[i] as Verdict, counts));
  }
  console.log(`${encoding}: ${JSON.stringify(counts)}`);
  return counts;
}

function recorded(encoding: Encoding): Uint8Array[] {
  return FIXTURES.flatMap((name) => fixture(name)[encoding]).filter(({ length }) => length < 3000);
}

describe("streams of the real agents, as the crates of their generation read them", () => {
  for (const stream of [...REAL_STREAMS, ...TRACED_STREAMS]) {
    test(stream.file, LIMIT, () => {
      const payloads = splitFrames(streamBytes(stream));
      const counts: Counts = { taken: 0, refused: 0, exceptions: {} };
      judge(stream.encoding, payloads).forEach((verdict, i) =>
        compare(stream.encoding, payloads[i] as Uint8Array, verdict, counts)
      );
      const { "null is NaN": notNumbers = 0, ...exceptions } = counts.exceptions;
      assert.deepEqual({ ...counts, exceptions }, { taken: stream.spans - notNumbers, refused: 0, exceptions: {} });
    });
  }
});

describe("JSON, as serde_json reads it", () => {
  const originals = recorded("json");

  test("random spans, as agents write them and in every other way", LIMIT, () => {
    const made = new RandomSpans(1, { nonFinite: false });
    const { taken } = check("json", CASES / 4, () => {
      const record = made.span();
      return encodeJson(record, made.random.oneIn(8) ? {} : { vary: made.random });
    });
    assert.ok(taken > CASES / 5, `${taken} of ${CASES / 4} were spans`);
  });

  test("values at the edges of their types", LIMIT, () => {
    const made = new RandomSpans(2, { nonFinite: false });
    const counts = check("json", CASES, () => {
      const payload = made.random.oneIn(4) ? encodeJson(made.span()) : made.random.pick(originals);
      return replacedValue(payload, made.random);
    });
    assert.ok(counts.taken > CASES / 10 && counts.refused > CASES / 10);
    assert.ok("time beyond 64 bits of nanoseconds" in counts.exceptions);
  });

  test("tokens left out, twice, exchanged and replaced", LIMIT, () => {
    const made = new RandomSpans(3);
    const counts = check("json", CASES, () => {
      const payload = made.random.oneIn(4)
        ? encodeJson(made.span(), { vary: made.random })
        : made.random.pick(originals);
      return mutatedJson(payload, made.random);
    });
    assert.ok(counts.taken > CASES / 100 && counts.refused > CASES / 4);
    assert.ok("null is NaN" in counts.exceptions);
  });

  test("bytes changed, cut out, put in and repeated", LIMIT, () => {
    const made = new RandomSpans(4, { nonFinite: false });
    const counts = check("json", CASES, () => {
      const payload = made.random.oneIn(4)
        ? encodeJson(made.span(), { vary: made.random })
        : made.random.pick(originals);
      return scrambled(payload, made.random.pick(originals), made.random);
    });
    assert.ok(counts.taken > CASES / 100 && counts.refused > CASES / 4);
  });
});

describe("bincode, as the crate reads it", () => {
  const originals = recorded("bincode");

  test("random spans", LIMIT, () => {
    const made = new RandomSpans(5);
    const { taken } = check("bincode", CASES / 4, () => encodeBincode(made.span()));
    assert.equal(taken, CASES / 4);
  });

  test("every byte of a span changed, and every length an extreme", LIMIT, () => {
    const made = new RandomSpans(6);
    const changed = [made.span(), made.span()].map((record) => encodeBincode(record)).concat(
      originals.slice(0, 4),
    ).flatMap((payload) => [
      ...[...changedBytes(payload, 1, (byte) => [byte ^ 1, byte ^ 0x80, 0, 0xff])]
        .map((same) => same.slice()),
    ]);
    assert.ok(changed.length > 0);
    const lengths = originals.slice(0, 40).flatMap((payload) =>
      Array.from(
        extremeLengths(payload, readBincode(payload).lengthOffsets),
        (same) => same.slice(),
      )
    );
    assert.ok(lengths.length > 0);
    const payloads = [...changed, ...lengths];
    check("bincode", payloads.length, () => payloads.pop() as Uint8Array);
  });

  test("bytes changed, cut out, put in and repeated", LIMIT, () => {
    const made = new RandomSpans(7);
    const counts = check("bincode", CASES * 2, () => {
      const payload = made.random.oneIn(4) ? encodeBincode(made.span()) : made.random.pick(originals);
      return scrambled(payload, made.random.pick(originals), made.random);
    });
    assert.ok(counts.taken > CASES / 20 && counts.refused > CASES / 4);
  });
});
