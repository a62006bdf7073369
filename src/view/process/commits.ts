import type { IncomingSpan } from "../../store/span-source.ts";

/**
 * How many spans are stored in one commit, and how many bytes of them unless a single one has more. It takes some 5 ms,
 * in which a page that is asked for has to wait.
 */
const COMMIT_SPANS = 256;
const COMMIT_BYTES = 128 * 1024;

/** Cuts spans into what is stored in one commit each, in their order. */
export function* commitsOf(spans: readonly IncomingSpan[]): Generator<readonly IncomingSpan[]> {
  let from = 0;
  let bytes = 0;
  for (const [at, { part: { resource, scope, span } }] of spans.entries()) {
    // The hashes of what it shares are computed for each span.
    const length = resource.length + scope.length + span.length;
    if (at > from && (at - from === COMMIT_SPANS || bytes + length > COMMIT_BYTES)) {
      yield spans.slice(from, at);
      from = at;
      bytes = 0;
    }
    bytes += length;
  }
  if (from < spans.length) yield spans.slice(from);
}
