import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

/** Bytes of a frame's header: the payload's length, big endian. */
const HEADER_BYTES = 8;
/**
 * The sizes of a span's beginning in bincode: trace ID 16, span ID 8, flags 1, is_remote 1, trace_state's tag 1 (0:
 * absent).
 */
const TRACE_STATE_TAG = 26;
/** … followed by parent span ID 8, kind 4, name length 8, name, then start_time and end_time, each a u64 and a u32. */
const NAME_LENGTH = TRACE_STATE_TAG + 1 + 8 + 4;
/** The filler that makes a name longer. */
const FILLER = "x".charCodeAt(0);
/** In serde's JSON the first member with this name is the span's own. */
const JSON_NAME = Buffer.from('"name":"');

const JSON_END_TIME = Buffer.from('"end_time":{"secs_since_epoch":');
/** Ten digits of seconds, a member's name, and nine digits of nanoseconds. */
const JSON_TIME_BYTES = 10 + ',"nanos_since_epoch":'.length + 9;
/** The least number of nine digits without a leading zero. It stands for all that are less, so it tells no time. */
export const LEAST_NANOSECONDS = 100_000_000;

/** The frames of a load. */
export type LoadEncoding = "bincode" | "json";

/** One recorded frame, with its header. */
export interface Frame {
  readonly bytes: Uint8Array;
  readonly isJson: boolean;
  /** Where end_time's seconds begin, so that a send time can be written; -1 if the frame has no room for it. */
  readonly endTime: number;
}

/** Recorded frames, by their files in `test/fixtures`. */
interface Fixture {
  readonly bincode?: string;
  readonly json?: string;
  /** Which of them are taken, by the bytes of their payloads; default: all. */
  readonly sizes?: readonly [least: number, most: number];
}

/** Those whose files do not have their names. `load` does: small spans without escapes. */
const FIXTURES: Readonly<Record<string, Fixture>> = {
  /** A sandbox's life, as real agents of both generations told it. */
  session: {
    bincode: "real-agent/real-3.28.0-session.bincode",
    json: "real-agent/real-4.1.0-session.json-frames",
  },
  /** Three containers, with the large requests that agents write into their spans. */
  busy: {
    bincode: "real-agent/real-3.28.0-busy.bincode.gz",
    json: "real-agent/real-4.1.0-busy.json-frames.gz",
  },
  /** Some 4 kB each on average, three quarters of it escaped text: the crates, through `tracing`. */
  traced: { json: "opentelemetry-0.17/session-isolated.json-frames", sizes: [0, 16_384] },
  "4k": { json: "real-agent/real-4.1.0-session.json-frames", sizes: [3000, 6000] },
  "60k": { json: "opentelemetry-0.17/big60k.json-frames", sizes: [50_000, 70_000] },
  /** The page of 1 MiB of a file that is copied into the guest. */
  file: { json: "real-agent/real-4.1.0-copyfile-1MiB.json-frames.gz", sizes: [1_000_000, 8_000_000] },
};

/** The crates refuse what serde_json writes for a double that is not finite. */
const NULL_DOUBLE = Buffer.from('"F64":null');

/** Reads recorded frames. Spans smaller than `spanBytes` (payload) get a longer name, so that they have that size. */
export function readFrames(name: string, encoding: LoadEncoding, spanBytes = 0): Frame[] {
  const plain: Fixture = { bincode: `${name}.bincode`, json: `${name}.json-frames` };
  const { [encoding]: path, sizes: [least, most] = [0, Infinity] } = FIXTURES[name] ?? plain;
  if (path === undefined) throw new RangeError(`no frames named "${name}" in ${encoding}`);
  const stored = readFileSync(fileURLToPath(new URL(`../../test/fixtures/${path}`, import.meta.url)));
  const file = new Uint8Array(path.endsWith(".gz") ? gunzipSync(stored) : stored);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const frames: Frame[] = [];
  for (let at = 0; at < file.length;) {
    const end = at + HEADER_BYTES + Number(view.getBigUint64(at));
    const recorded = file.subarray(at + HEADER_BYTES, end);
    at = end;
    if (recorded.length < least || recorded.length > most || Buffer.from(recorded).includes(NULL_DOUBLE)) continue;
    const payload = lengthen(recorded.slice(), encoding, spanBytes);
    const bytes = new Uint8Array(HEADER_BYTES + payload.length);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(payload.length));
    bytes.set(payload, HEADER_BYTES);
    const isJson = encoding === "json";
    frames.push({ bytes, isJson, endTime: isJson ? jsonEndTimeOffset(bytes) : endTimeOffset(bytes) });
  }
  return frames;
}

/** Puts filler before a span's name. */
function lengthen(payload: Uint8Array, encoding: LoadEncoding, spanBytes: number): Uint8Array {
  const missing = spanBytes - payload.length;
  if (missing <= 0) return payload;
  const name = encoding === "json" ? Buffer.from(payload).indexOf(JSON_NAME) + JSON_NAME.length : NAME_LENGTH + 8;
  const longer = new Uint8Array(payload.length + missing).fill(FILLER);
  longer.set(payload.subarray(0, name));
  longer.set(payload.subarray(name), name + missing);
  if (encoding === "bincode") {
    const view = new DataView(longer.buffer);
    view.setBigUint64(NAME_LENGTH, view.getBigUint64(NAME_LENGTH, true) + BigInt(missing), true);
  }
  return longer;
}

function endTimeOffset(frame: Uint8Array): number {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame[HEADER_BYTES + TRACE_STATE_TAG] !== 0) return -1;
  const nameLength = Number(view.getBigUint64(HEADER_BYTES + NAME_LENGTH, true));
  return HEADER_BYTES + NAME_LENGTH + 8 + nameLength + 12;
}

/** Where `…,"nanos_since_epoch":…` begins with the seconds; -1 if they do not have as many digits as today's. */
function jsonEndTimeOffset(frame: Uint8Array): number {
  const text = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  const at = text.indexOf(JSON_END_TIME) + JSON_END_TIME.length;
  const end = text.indexOf("}", at);
  return text.subarray(at, end).length === JSON_TIME_BYTES ? at : -1;
}

/** Writes a time (milliseconds since the epoch, with fraction) into a frame's end_time. */
export function stampEndTime(frame: Frame, unixMs: number): void {
  if (frame.endTime < 0) throw new RangeError("the frame has no place for a time");
  if (frame.isJson) {
    const nanoseconds = Math.floor((unixMs % 1000) * 1e6);
    const text = `${Math.floor(unixMs / 1000)},"nanos_since_epoch":${Math.max(nanoseconds, LEAST_NANOSECONDS)}`;
    for (let i = 0; i < JSON_TIME_BYTES; i++) frame.bytes[frame.endTime + i] = text.charCodeAt(i);
    return;
  }
  const view = new DataView(frame.bytes.buffer, frame.bytes.byteOffset, frame.bytes.byteLength);
  const seconds = Math.floor(unixMs / 1000);
  view.setBigUint64(frame.endTime, BigInt(seconds), true);
  view.setUint32(frame.endTime + 8, Math.floor((unixMs - seconds * 1000) * 1e6), true);
}

/** The mean of the payloads' bytes. */
export function meanBytes(name: string, encoding: LoadEncoding): number {
  const frames = readFrames(name, encoding);
  return frames.reduce((sum, { bytes }) => sum + bytes.length - HEADER_BYTES, 0) / frames.length;
}

/** `count` frames in one piece. */
export function joinFrames(frames: readonly Frame[], count: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let i = 0; i < count; i++) parts.push((frames[i % frames.length] as Frame).bytes);
  return new Uint8Array(Buffer.concat(parts));
}

/** How many spans each guest sends, if they send `spans` together. The first one sends the remainder. */
export function shares(spans: number, guests: number): number[] {
  const share = Math.floor(spans / guests);
  return Array.from(
    { length: guests },
    (_, guest) => guest === 0 ? spans - share * (guests - 1) : share,
  );
}
