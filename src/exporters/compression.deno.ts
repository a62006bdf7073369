import { gzipSync } from "node:zlib";
import { type Gzip, GZIP_LEVEL } from "./compression.ts";

export const gzip: Gzip = (request) => gzipSync(request, { level: GZIP_LEVEL });
