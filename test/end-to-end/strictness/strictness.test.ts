import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { PayloadDecoder } from "../../../src/decode/payload-decoder.ts";
import { WireError } from "../../../src/decode/wire-error.ts";
import { EncodedSpans } from "../../../src/otlp/encoded-spans.ts";
import { RequestBuilder } from "../../../src/otlp/request-builder.ts";
import { ResourceOverlay } from "../../../src/otlp/resource.ts";
import { encodeBincode } from "../../decode/support/bincode-encoder.ts";
import { encodeJson } from "../../decode/support/json-encoder.ts";
import { scrambled } from "../../decode/support/mutations.ts";
import { bytesField, fixed64Field, join, keyValue, tag, textField, varint } from "../../decode/support/otlp-message.ts";
import { Random } from "../../decode/support/random.ts";
import { RandomSpans } from "../../decode/support/random-span.ts";
import { judge } from "./judges.ts";
import { OtlpGenerator } from "./otlp-generator.ts";

// What the forwarder takes from guests leaves as requests that nobody refuses: not Go's, C++'s, Rust's and Java's
// protobuf at their default limits, and not the Collector's decoder and translators to Zipkin and Jaeger. A million
// payloads: `KTF_STRICTNESS_CASES=1000000`.

/** How many payloads have to be accepted. */
const CASES = Number(process.env["KTF_STRICTNESS_CASES"] ?? 50_000);
const SEED = Number(process.env["KTF_STRICTNESS_SEED"] ?? 20_260_801);
/** Requests that are judged at once. */
const BATCH = 20_000;
/** Milliseconds, for as many cases as anyone has patience for. */
const LIMIT = { timeout: 7_200_000 };

/** Makes payloads of all encodings, from a number each. */
class Payloads {
  readonly #previous: Uint8Array[] = [new Uint8Array(1)];

  make(number: number): Uint8Array {
    const random = new Random(SEED * 1_000_003 + number);
    let payload = this.#whole(random);
    if (random.oneIn(4)) payload = scrambled(payload, random.pick(this.#previous), random);
    this.#previous[number % 16] = payload;
    return payload;
  }

  #whole(random: Random): Uint8Array {
    const kind = random.below(8);
    if (kind >= 2) return new OtlpGenerator(random).request();
    const record = new RandomSpans(random.uint32()).span();
    if (random.oneIn(50)) record.traceId = "0".repeat(32);
    if (random.oneIn(50)) record.spanId = "0".repeat(16);
    return kind === 0 ? encodeBincode(record) : encodeJson(record, random.oneIn(2) ? {} : { vary: random });
  }
}

/**
 * Takes a payload in as a guest's, and gives the request that goes to the collector; nothing for one that is refused.
 */
class Forwarding {
  readonly counts: { [outcome: string]: number } = {};
  readonly #spans = new EncodedSpans();
  readonly #builder = new RequestBuilder();
  readonly #overlay = new ResourceOverlay({
    forced: new Map<string, string | number>([["service.name", "kata-agent"], ["kata.vsock.cid", 3]]),
    reservedPrefix: "kata.",
  });

  request(payload: Uint8Array): Uint8Array | undefined {
    const spans = this.#spans;
    try {
      this.#count(new PayloadDecoder().decode(payload, 0, payload.length, spans));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#count(error.reason);
      return undefined;
    }
    for (let i = 0; i < spans.count; i++) {
      const header = spans.writer.buffer.subarray(spans.resourceStart(i), spans.resourceEnd(i));
      this.#builder.append(this.#builder.resource(this.#overlay.apply(header)), spans, i);
    }
    const request = this.#builder.finish();
    this.#builder.clear();
    return request;
  }

  #count(outcome: string): void {
    this.counts[outcome] = (this.counts[outcome] ?? 0) + 1;
  }
}

test(`nobody refuses any of ${CASES} requests made of accepted payloads`, LIMIT, async () => {
  const payloads = new Payloads();
  const forwarding = new Forwarding();
  let accepted = 0;
  for (let number = 0; accepted < CASES;) {
    const requests: Uint8Array[] = [];
    const made: Uint8Array[] = [];
    for (; requests.length < Math.min(BATCH, CASES - accepted); number++) {
      const payload = payloads.make(number);
      const request = forwarding.request(payload);
      if (request === undefined) continue;
      requests.push(request);
      made.push(payload);
    }
    accepted += requests.length;
    const [refusal, ...more] = await judge(requests);
    if (refusal !== undefined) {
      const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString("hex");
      assert.fail(
        `${refusal.judge} refuses a request (${refusal.error}), and there are ${more.length} more refusals\n` +
          `payload: ${hex(made[refusal.index])}\nrequest: ${hex(requests[refusal.index])}`,
      );
    }
  }
  console.log(`accepted: ${accepted}; ${JSON.stringify(forwarding.counts)}`);
  for (const encoding of ["bincode", "json", "otlp"]) {
    assert.ok((forwarding.counts[encoding] ?? 0) > CASES / 50, `hardly any ${encoding}`);
  }
});

test("the judges refuse what each of them is there for", async () => {
  const traceId = bytesField(1, new Uint8Array(16).fill(1));
  const spanId = bytesField(2, new Uint8Array(8).fill(2));
  const ids = join(traceId, spanId);
  const request = (...span: Uint8Array[]) => bytesField(1, bytesField(2, bytesField(2, ...span)));
  const nested = (messages: number) => {
    // The request, its resource, its scope, the span, its attribute and the value are six.
    let value = textField(1, "");
    for (let i = 6; i < messages; i += 2) value = bytesField(5, bytesField(1, value));
    return request(ids, keyValue(9, "k", value));
  };
  const nan = fixed64Field(4, 0x7ff8n << 48n);
  const cases: readonly (readonly [string, Uint8Array, readonly string[]])[] = [
    ["what is all right", request(ids), []],
    ["a trace ID of zeros", request(bytesField(1, new Uint8Array(16)), spanId), ["Collector's translator to Zipkin"]],
    ["a span ID of zeros", request(traceId, bytesField(2, new Uint8Array(8))), ["Collector's translator to Zipkin"]],
    ["an ID that is too long", request(bytesField(1, new Uint8Array(17).fill(1)), spanId), ["Collector's decoder"]],
    [
      "NaN in an event",
      request(ids, bytesField(11, keyValue(3, "k", nan))),
      ["Collector's translator to Jaeger", "Collector's translator to Zipkin"],
    ],
    ["NaN in a link", request(ids, bytesField(13, ids, keyValue(4, "k", nan))), ["Collector's translator to Zipkin"]],
    ["NaN in a span", request(ids, keyValue(9, "k", nan)), ["Collector's translator to Jaeger"]],
    ["102 messages in each other", nested(102), ["prost", "protobuf-java", "upb"]],
    ["a tag of six bytes", request(ids, varint(0x2a, 5), Uint8Array.of(0)), ["upb"]],
    ["a length of six bytes", request(ids, tag(5, 2), varint(0, 5)), ["upb"]],
    [
      "text that is not UTF-8",
      request(ids, bytesField(5, Uint8Array.of(0xff))),
      ["google.golang.org/protobuf", "prost", "protobuf-java", "upb"],
    ],
    ["a field of another type", request(ids, join(tag(5, 0), varint(1))), ["Collector's decoder", "prost"]],
  ];
  const refusals = await judge(cases.map(([, bytes]) => bytes));
  for (const [index, [what, , judges]] of cases.entries()) {
    const refusedBy = refusals.filter((refusal) => refusal.index === index).map((refusal) => refusal.judge).sort();
    assert.deepEqual(refusedBy, judges, what);
  }
});
