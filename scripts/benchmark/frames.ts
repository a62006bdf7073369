import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

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

/** The frames of a load. */
export type LoadEncoding = "bincode" | "json";

/** One recorded frame, with its header. */
export interface Frame {
  readonly bytes: Uint8Array;
  /** Where end_time's seconds begin, so that a send time can be written; -1 if the payload is not bincode. */
  readonly endTime: number;
}

/** The file of recorded frames with this name. */
export function fixturePath(name: string, encoding: LoadEncoding): string {
  const suffix = encoding === "json" ? "json-frames" : "bincode";
  return fileURLToPath(new URL(`../../test/fixtures/${name}.${suffix}`, import.meta.url));
}

/** Reads recorded frames. Spans smaller than `spanBytes` (payload) get a longer name, so that they have that size. */
export function readFrames(name: string, encoding: LoadEncoding, spanBytes = 0): Frame[] {
  const file = new Uint8Array(readFileSync(fixturePath(name, encoding)));
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const frames: Frame[] = [];
  for (let at = 0; at < file.length;) {
    const end = at + HEADER_BYTES + Number(view.getBigUint64(at));
    const payload = lengthen(file.slice(at + HEADER_BYTES, end), encoding, spanBytes);
    const bytes = new Uint8Array(HEADER_BYTES + payload.length);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(payload.length));
    bytes.set(payload, HEADER_BYTES);
    frames.push({ bytes, endTime: encoding === "bincode" ? endTimeOffset(bytes) : -1 });
    at = end;
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

/** Writes a time (milliseconds since the epoch, with fraction) into a frame's end_time. */
export function stampEndTime(frame: Frame, unixMs: number): void {
  if (frame.endTime < 0) throw new RangeError("the frame has no place for a time");
  const view = new DataView(frame.bytes.buffer, frame.bytes.byteOffset, frame.bytes.byteLength);
  const seconds = Math.floor(unixMs / 1000);
  view.setBigUint64(frame.endTime, BigInt(seconds), true);
  view.setUint32(frame.endTime + 8, Math.floor((unixMs - seconds * 1000) * 1e6), true);
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
