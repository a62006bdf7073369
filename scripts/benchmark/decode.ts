import { execFile } from "node:child_process";
import { performance } from "node:perf_hooks";
import { promisify } from "node:util";
import { join } from "node:path";
import { writeFileSync } from "node:fs";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { FRAME_HEADER_BYTES, FrameReader, TAKEN } from "../../src/decode/frame-reader.ts";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";
import { joinFrames, type LoadEncoding, readFrames } from "./frames.ts";
import { temporaryDirectory } from "../../test/support/temporary-directory.ts";
import { median } from "./machine.ts";

/**
 * How much a socket gives in one read while guests send all they can, bytes: what a UNIX socket holds by default
 * (net.core.wmem_default), as `strace` shows.
 */
const CHUNK_BYTES = 208 * 1024;
const FRAME_LIMIT = 1 << 30;
/** How often the two sides take turns, and how long each turn is, seconds. */
const TURNS = 5;
const TURN_SECONDS = 1;
/** Rounds are short, so that on a busy machine some of them are undisturbed. The reference's have the same length. */
const ROUND_MS = 20;

/** Nanoseconds for a span in many short rounds: the least, which was disturbed least, and the median. */
interface Times {
  readonly best: number;
  readonly median: number;
}

/** How fast payloads become OTLP on one core. */
export interface DecodeFigures {
  readonly ours: Times;
  /** The Rust crates' decoding alone; absent if their program has not been built. */
  readonly reference: Times | undefined;
}

/**
 * Measures decoding on one core, from a frame's bytes to a span's: frames, decoding, encoding. It takes turns with the
 * reference, which reads the file of frames beforehand and only decodes.
 */
export async function measureDecode(
  fixture: string,
  encoding: LoadEncoding,
  agent: string | undefined,
): Promise<DecodeFigures> {
  using directory = temporaryDirectory();
  const file = join(directory.path, "frames");
  const recorded = readFrames(fixture, encoding);
  writeFileSync(file, joinFrames(recorded, recorded.length));
  const turn = decoding(fixture, encoding);
  turn();
  const ours: Times[] = [];
  const references: Times[] = [];
  for (let i = 0; i < TURNS; i++) {
    ours.push(turn());
    if (agent !== undefined) {
      references.push(await measureReference(agent, file, encoding));
    }
  }
  return {
    ours: together(ours),
    reference: agent === undefined ? undefined : together(references),
  };
}

function together(turns: readonly Times[]): Times {
  return {
    best: Math.min(...turns.map(({ best }) => best)),
    median: median(turns.map((turn) => turn.median)),
  };
}

/** Prepares a turn of {@link measureDecode}. */
function decoding(fixture: string, encoding: LoadEncoding): () => Times {
  const frames = readFrames(fixture, encoding);
  // The same bytes as the reference decodes: a longer stream would come from a slower cache.
  const count = frames.length;
  const stream = joinFrames(frames, count);
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < stream.length; at += CHUNK_BYTES) {
    chunks.push(stream.slice(at, at + CHUNK_BYTES));
  }
  const spans = new EncodedSpans();
  const decoder = new PayloadDecoder();
  let decoded = 0;
  const reader = new FrameReader(FRAME_LIMIT, {
    payload: (buffer, start, end) => {
      spans.clear();
      decoder.decode(buffer, start, end, spans);
      decoded += spans.count;
      return TAKEN;
    },
    takesTogether: true,
    payloads: (buffer, start, end, frames) => {
      const taken = decoder.readFrames(buffer, start, end, frames, spans);
      decoded += taken;
      return taken;
    },
    resembles: () => false,
    begun: () => TAKEN,
    isText: false,
    oversized: () => {
      throw new Error("no frame is over the limit");
    },
    givenUp: () => {
      throw new Error("no frame is given up");
    },
    turnIsOver: () => false,
  });
  const round = (): number => {
    const before = decoded;
    let passes = 0;
    const began = performance.now();
    do {
      for (const chunk of chunks) reader.push(chunk);
      passes++;
    } while (performance.now() - began < ROUND_MS);
    const nanoseconds = (performance.now() - began) * 1e6;
    if (decoded - before !== passes * count) throw new Error("spans were lost while decoding");
    return nanoseconds / (decoded - before);
  };
  return () => {
    const rounds: number[] = [];
    const began = performance.now();
    while (performance.now() - began < TURN_SECONDS * 1000) rounds.push(round());
    return { best: Math.min(...rounds), median: median(rounds) };
  };
}

/** Runs the program in test/agent, which is built from the crates that agents use. */
async function measureReference(agent: string, file: string, encoding: string): Promise<Times> {
  const { stdout } = await promisify(execFile)(agent, [
    "bench",
    "--file",
    file,
    "--encoding",
    encoding,
    "--seconds",
    String(TURN_SECONDS),
  ]);
  const report = JSON.parse(stdout) as { ns_per_span: number; best_ns_per_span: number };
  return { best: report.best_ns_per_span, median: report.ns_per_span };
}

/** The bytes of the `Span` messages that the forwarder makes of recorded frames, one after another. */
export function spanSizes(fixture: string, encoding: LoadEncoding, spanBytes: number): number[] {
  const spans = new EncodedSpans();
  const decoder = new PayloadDecoder();
  return readFrames(fixture, encoding, spanBytes).map(({ bytes }) => {
    decoder.decode(bytes, FRAME_HEADER_BYTES, bytes.length, spans);
    return messageBytes(spans.spanEnd(0) - spans.spanStart(0));
  });
}

/** The length of a message, from that of its field with a tag of one byte and a length. */
function messageBytes(field: number): number {
  let prefix = 2;
  while (field - prefix >= 0x80 ** (prefix - 1)) prefix++;
  return field - prefix;
}
