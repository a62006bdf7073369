// How the time that one payload takes is bounded. Decoding 8 MiB in one go would hold up everything else for a tenth of
// a second. Payloads that large consist of long texts: an agent's span has at most 128 attributes, and 128 events, of
// which one that is a copied file has megabytes. A long text is copied and checked by calls that take a millisecond for
// a megabyte, or piece by piece. What else there is in a payload takes up to ten times as long, and is limited.

/** Payloads that are larger are decoded in steps, bytes, whatever they are written in. */
export const LARGE_PAYLOAD_BYTES: number = 512 * 1024;

/**
 * A request in OTLP is decoded in steps if it has more than so many bytes, since it may have a span for every 30 of
 * them, each of which takes microseconds after it is decoded.
 */
export const LARGE_REQUEST_BYTES: number = 128 * 1024;

/** The tag of `ExportTraceServiceRequest.resource_spans`, which begins every request. */
export const OTLP_FIRST_BYTE = 0x0a;

/** Whether the payload `buffer[start … end)` is decoded in steps. */
export function isLargePayload(buffer: Uint8Array, start: number, end: number): boolean {
  const bytes = end - start;
  return bytes > LARGE_PAYLOAD_BYTES || (bytes > LARGE_REQUEST_BYTES && buffer[start] === OTLP_FIRST_BYTE);
}

/** A text of at least so many bytes is a long one. */
export const LONG_TEXT_BYTES = 4096;

/** How many bytes a payload, or one span of a request, may have beside its long texts. */
export const MOST_SHORT_BYTES: number = 512 * 1024;

/**
 * The same of a span in OTLP that is larger than {@link LARGE_PAYLOAD_BYTES}, which is too large for the decoder in
 * WebAssembly. What it has beside its long texts takes longer than that of other payloads, but a text is a long one if
 * it has so many bytes.
 */
export const MOST_SHORT_OTLP_BYTES: number = 128 * 1024;
export const LONG_OTLP_TEXT_BYTES = 256;

/** How many bytes one step takes on, between which other things may be done. */
export const STEP_BYTES: number = 64 * 1024;

/** The payload that is decoded in steps. It may lie elsewhere at each step, with the same bytes. */
export interface LargePayload {
  buffer: Uint8Array;
  start: number;
  end: number;
}
