import { gzipSync } from "node:zlib";
import { GZIP_LEVEL } from "./compression.ts";

/** By zlib. */
export function gzipAtOnce(request: Uint8Array): Uint8Array {
  return gzipSync(request, { level: GZIP_LEVEL });
}
