/** HTTP/2 by hand (RFC 9113): what no library would send. */

export const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

/** One frame. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header as HPACK's literal without indexing (RFC 7541, section 6.2.2), or with (6.2.1). */
export function header(name: string, value: string, indexed = false): Buffer {
  return Buffer.concat([
    Uint8Array.of(indexed ? 0x40 : 0),
    integer(name.length),
    Buffer.from(name),
    integer(value.length),
    Buffer.from(value),
  ]);
}

/** An HPACK integer with a prefix of seven bits. */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  for (value -= 127; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}

/** The headers of `POST /x`, and others. */
export function postHeaders(...others: readonly Buffer[]): Buffer {
  // 0x83 and 0x86 stand for `:method: POST` and `:scheme: http` (RFC 7541, appendix A).
  return Buffer.concat([Uint8Array.of(0x83, 0x86), header(":path", "/x"), header("host", "h"), ...others]);
}

/** What begins a connection. */
export function opening(settings: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([Buffer.from(PREFACE), frame(FRAME.SETTINGS, 0, 0, settings)]);
}

/** The frames of a stream of bytes, as far as they are whole. */
export function parseFrames(bytes: Buffer): { type: number; flags: number; stream: number; payload: Buffer }[] {
  const frames = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const length = bytes.readUIntBE(at, 3);
    if (at + 9 + length > bytes.length) break;
    frames.push({
      type: bytes.readUInt8(at + 3),
      flags: bytes.readUInt8(at + 4),
      stream: bytes.readUInt32BE(at + 5),
      payload: bytes.subarray(at + 9, at + 9 + length),
    });
    at += 9 + length;
  }
  return frames;
}
