import { readFileSync } from "node:fs";
import type { SpanRecord } from "./span-record.ts";

/** Where sets are: those recorded before the project, and those of the project's own recorder. */
export const FIXTURE_FOLDERS = ["fixtures", "agent/recorded"] as const;
export type FixtureFolder = (typeof FIXTURE_FOLDERS)[number];

/** The recorded sets of `fixtures`. */
export const FIXTURES = ["session-isolated", "session-collated", "random", "nonfinite"] as const;
export type FixtureName = (typeof FIXTURES)[number];
/** The recorded sets in each folder. */
export const FIXTURES_IN: Readonly<Record<FixtureFolder, readonly FixtureName[]>> = {
  fixtures: FIXTURES,
  "agent/recorded": ["random", "nonfinite"],
};

/** One recorded set: span N of each member is the same span. */
export interface Fixture {
  /** The frames as an agent wrote them, one after the other. */
  readonly bincodeStream: Uint8Array;
  readonly jsonStream: Uint8Array;
  readonly bincode: readonly Uint8Array[];
  readonly json: readonly Uint8Array[];
  readonly expected: readonly SpanRecord[];
}

/** Reads a recorded set. */
export function fixture(name: FixtureName, folder: FixtureFolder = "fixtures"): Fixture {
  const read = (file: string) => new Uint8Array(readFileSync(new URL(`../../${folder}/${file}`, import.meta.url)));
  const bincodeStream = read(`${name}.bincode`);
  const jsonStream = read(`${name}.json-frames`);
  return {
    bincodeStream,
    jsonStream,
    bincode: splitFrames(bincodeStream),
    json: splitFrames(jsonStream),
    expected: new TextDecoder().decode(read(`${name}.expected.jsonl`)).split("\n")
      .filter((line) => line !== "").map((line) => JSON.parse(line) as SpanRecord),
  };
}

/** Payloads of whole frames, cut independently of the code under test. */
export function splitFrames(stream: Uint8Array): Uint8Array[] {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const payloads: Uint8Array[] = [];
  for (let at = 0; at < stream.length;) {
    const length = Number(view.getBigUint64(at));
    at += 8;
    if (at + length > stream.length) throw new Error(`frame at byte ${at - 8} is cut short`);
    payloads.push(stream.slice(at, at + length));
    at += length;
  }
  return payloads;
}

/** A frame as an agent writes it. */
export function frame(payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + payload.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(payload.length));
  bytes.set(payload, 8);
  return bytes;
}

/** Chunks joined. */
export function concatenate(chunks: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(chunks as Uint8Array[]));
}
