import { type FrameSink, TAKEN } from "../../../src/decode/frame-reader.ts";

/** A sink that takes every payload, and of which a test says what else it does. */
export function frameSink(
  payload: (buffer: Uint8Array, start: number, end: number) => void,
  others: Partial<FrameSink> = {},
): FrameSink {
  return {
    payload: (buffer, start, end) => {
      payload(buffer, start, end);
      return TAKEN;
    },
    resembles: () => false,
    begun: () => TAKEN,
    isText: false,
    oversized: (length) => {
      throw new Error(`a frame of ${length} bytes is over the limit`);
    },
    givenUp: () => {
      throw new Error("a frame was given up");
    },
    turnIsOver: () => false,
    ...others,
  };
}
