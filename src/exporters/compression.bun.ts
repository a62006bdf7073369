import { gzipSync } from "bun";
import { GZIP_LEVEL } from "./compression.ts";

/** By libdeflate, which makes a quarter less of a request at this level than zlib. */
export function gzipAtOnce(request: Uint8Array): Uint8Array {
  return gzipSync(request as Uint8Array<ArrayBuffer>, { level: GZIP_LEVEL, library: "libdeflate" });
}
