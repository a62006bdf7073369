import { readFileSync, writeFileSync } from "node:fs";
import { brotliCompressSync, constants } from "node:zlib";
import { splitFrames } from "../test/decode/support/fixtures.ts";
import { readJson } from "../test/decode/support/json-reference.ts";

const FIXTURE = new URL("../test/fixtures/real-agent/real-4.1.0-session.json-frames", import.meta.url);
const TARGET = new URL("../src/demo/session.ts", import.meta.url);

/**
 * The spans as read by an independent reader, which shares nothing with the forwarder's decoders. They are
 * `SpanRecord`s without what the host adds.
 */
function expectedRecords(frames: Uint8Array): unknown[] {
  return splitFrames(frames).map((payload) => {
    const { traceFlags, isRemote: _, resource, ...span } = readJson(payload);
    // A link's flags come from two fields. The session has no links, so none are converted here.
    if (span.links.length > 0) throw new Error("a session with links needs their flags converted");
    return { ...span, flags: traceFlags, resource: { attributes: resource ?? [] } };
  });
}

function embedded(bytes: Uint8Array | string): string {
  const compressed = brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
    },
  });
  const lines = compressed.toString("base64").match(/.{1,96}/g) ?? [];
  return `\`\n${lines.join("\n")}\n\``;
}

const frames = new Uint8Array(readFileSync(FIXTURE));
writeFileSync(
  TARGET,
  `// Written by scripts/embed-session from test/fixtures/real-agent/real-4.1.0-session: do not edit.

/** What a real agent wrote in one sandbox's life, frame after frame: Brotli, base64. */
export const SESSION_FRAMES = ${embedded(frames)};

/** The spans in it, as an array of \`SpanRecord\`s without what the host adds: JSON, Brotli, base64. */
export const SESSION_SPANS = ${embedded(JSON.stringify(expectedRecords(frames)))};
`,
);
