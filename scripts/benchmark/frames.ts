import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Bytes of a frame's header: the payload's length, big endian. */
const HEADER_BYTES = 8;
/** Where bincode puts a span's fixed-size beginning: trace id 16, span id 8, flags 1, is_remote 1, trace_state's tag 1 (absent: 0). */
const TRACE_STATE_TAG = 26;
/** … then parent span id 8, kind 4, name length 8 and the name; after it start_time (u64 + u32) and end_time. */
const NAME_LENGTH = TRACE_STATE_TAG + 1 + 8 + 4;

/** One recorded frame, header included. */
export interface Frame {
  readonly bytes: Uint8Array;
  /** Where end_time's seconds begin, or -1 where the payload is no bincode: there a send time can be written. */
  readonly endTime: number;
}

/** Splits a file of frames. */
export function readFrames(name: string): Frame[] {
  const path = fileURLToPath(new URL(`../../test/fixtures/${name}`, import.meta.url));
  const file = new Uint8Array(readFileSync(path));
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const frames: Frame[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(view.getBigUint64(at));
    const bytes = file.slice(at, at + HEADER_BYTES + length);
    frames.push({ bytes, endTime: name.endsWith(".bincode") ? endTimeOffset(bytes) : -1 });
    at += HEADER_BYTES + length;
  }
  return frames;
}

function endTimeOffset(frame: Uint8Array): number {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame[HEADER_BYTES + TRACE_STATE_TAG] !== 0) return -1;
  const nameLength = Number(view.getBigUint64(HEADER_BYTES + NAME_LENGTH, true));
  return HEADER_BYTES + NAME_LENGTH + 8 + nameLength + 12;
}

/** Writes a time (milliseconds since the epoch, with fraction) into a frame's end_time. */
export function stampEndTime(frame: Frame, unixMs: number): void {
  const view = new DataView(frame.bytes.buffer, frame.bytes.byteOffset, frame.bytes.byteLength);
  const seconds = Math.floor(unixMs / 1000);
  view.setBigUint64(frame.endTime, BigInt(seconds), true);
  view.setUint32(frame.endTime + 8, Math.floor((unixMs - seconds * 1000) * 1e6), true);
}

/** Frames one after another, `count` of them, in one piece. */
export function joinFrames(frames: readonly Frame[], count: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let i = 0; i < count; i++) parts.push((frames[i % frames.length] as Frame).bytes);
  return new Uint8Array(Buffer.concat(parts));
}
