import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { freeBytes } from "../base/free-bytes.ts";
import { joinBytes } from "../base/joined-bytes.ts";

/**
 * Compresses a request, given in parts, with gzip as fast as possible: what `OTEL_EXPORTER_OTLP_COMPRESSION=gzip` asks
 * for.
 */
export type Gzip = (request: readonly Uint8Array[]) => Uint8Array | Promise<Uint8Array>;

/**
 * The level of compression, the lowest. The next ones take two to four times the processor's time for requests that are
 * a tenth to a quarter smaller.
 */
export const GZIP_LEVEL = 1;

/**
 * The size in bytes above which a request is compressed on one of the runtime's threads. Batches are not that large, so
 * it is a single span, and its sender may have chosen text that takes 11 ms a MiB (random hexadecimal digits). Nobody
 * else should have to wait for that.
 */
export const MOST_AT_ONCE_BYTES = 1024 * 1024;

const compressOnThread = promisify(gzip);

/** The runtime's fastest gzip. */
export async function loadGzip(): Promise<Gzip> {
  const { gzipAtOnce } = "Bun" in globalThis
    ? await import("./compression.bun.ts")
    : await import("./compression.deno.ts");
  return (parts) => {
    const request = joinBytes(parts);
    // The thread gets a copy, because it goes on reading if the request is given up and its memory is given back.
    if (request.length > MOST_AT_ONCE_BYTES) return compressOnThread(request.slice(), { level: GZIP_LEVEL });
    const compressed = gzipAtOnce(request);
    if (parts.length > 1) freeBytes(request);
    return compressed;
  };
}
