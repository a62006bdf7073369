import type { EncodedSpans } from "../otlp/encoded-spans.ts";

/**
 * The shape of all decoders: turns the payload `buffer[start … end)` into spans, which are added to `spans`, in time
 * linear in its length and without recursion that the payload could drive. All of the payload has to be valid.
 *
 * Throws a `WireError` whose offset counts from `start`; the contents of `spans` are not valid then, until it is
 * cleared. A decoder of a format in which one span may be wrong by itself returns what it has left out.
 */
export type Decode<LeftOut = void> = (
  buffer: Uint8Array,
  start: number,
  end: number,
  spans: EncodedSpans,
) => LeftOut;
