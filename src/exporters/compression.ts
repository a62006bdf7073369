/** Compresses a request with gzip, as fast as possible: what `OTEL_EXPORTER_OTLP_COMPRESSION=gzip` asks for. */
export type Gzip = (request: Uint8Array) => Uint8Array;

/**
 * The level of compression, the lowest. The next ones take two to four times the processor's time for requests that are
 * a tenth to a quarter smaller.
 */
export const GZIP_LEVEL = 1;

/** The runtime's fastest gzip. */
export async function loadGzip(): Promise<Gzip> {
  const { gzip } = "Bun" in globalThis ? await import("./compression.bun.ts") : await import("./compression.deno.ts");
  return gzip;
}
