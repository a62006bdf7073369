import { readdirSync, readFileSync } from "node:fs";
import { type JaegerRecord } from "./jaeger-record.ts";
import { asOtlp, type SpanRecord } from "./span-record.ts";

/** The recorded sets; see their README. */
export const JAEGER_SETS = ["go-session", "go-random", "go-overrides", "go-invalid-utf8", "rust-session"] as const;
export type JaegerSet = (typeof JAEGER_SETS)[number];

const FOLDER = new URL("../../fixtures/jaeger-thrift/", import.meta.url);

/** A set's bodies, in the order in which they were sent; `go-0.15` has its expectations in a test. */
export function jaegerBodies(set: JaegerSet | "go-0.15"): Uint8Array[] {
  const file = readFileSync(new URL(`${set}.bodies`, FOLDER));
  const bodies: Uint8Array[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64BE(at));
    at += 8;
    bodies.push(new Uint8Array(file.subarray(at, at + length)));
    at += length;
  }
  return bodies;
}

/** What a set's spans mean, in the order in which they were sent. */
export function jaegerExpected(set: JaegerSet): JaegerRecord[] {
  return readFileSync(new URL(`${set}.expected.jsonl`, FOLDER), "utf8").split("\n")
    .filter((line) => line !== "").map((line) => asOtlp(JSON.parse(line) as SpanRecord) as unknown as JaegerRecord);
}

/** Any other file of the recorded sets. */
export function jaegerFile(name: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(name, FOLDER)));
}

/** Bodies that are odd or wrong, by the name of their file. */
export function malformedBodies(): Map<string, Uint8Array> {
  const names = readdirSync(new URL("malformed/", FOLDER)).sort();
  return new Map(names.map((name) => [name.replace(".body", ""), jaegerFile(`malformed/${name}`)]));
}
