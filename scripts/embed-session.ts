import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const FIXTURE = new URL("../test/fixtures/session-isolated", import.meta.url);
const TARGET = new URL("../src/demo/session.ts", import.meta.url);

/** One line of a fixture's `.expected.jsonl`: a span as the recorder knew it. */
interface ExpectedSpan {
  readonly traceFlags: number;
  readonly isRemote: boolean;
  readonly resource: readonly unknown[];
  readonly links: readonly unknown[];
  readonly [field: string]: unknown;
}

/** The expected spans in the form that `SpanRecord` has, but for what the host adds. */
function expectedRecords(): unknown[] {
  return readFileSync(`${FIXTURE.pathname}.expected.jsonl`, "utf8").trim().split("\n").map(
    (line) => {
      const { traceFlags, isRemote: _, resource, ...span } = JSON.parse(line) as ExpectedSpan;
      // A link's flags are put together from two fields: the session has none, so none are converted here.
      if (span.links.length > 0) {
        throw new Error("a session with links needs their flags converted");
      }
      return { ...span, flags: traceFlags, resource: { attributes: resource } };
    },
  );
}

function embedded(bytes: Uint8Array | string): string {
  const lines = gzipSync(bytes, { level: 9 }).toString("base64").match(/.{1,96}/g) ?? [];
  return `\`\n${lines.join("\n")}\n\``;
}

writeFileSync(
  TARGET,
  `// Written by scripts/embed-session from test/fixtures/session-isolated.*: do not edit.

/** What an agent wrote in one sandbox's life, frame after frame: gzip, base64. */
export const SESSION_FRAMES = ${embedded(readFileSync(`${FIXTURE.pathname}.bincode`))};

/** The spans in it, as an array of \`SpanRecord\`s without what the host adds: JSON, gzip, base64. */
export const SESSION_SPANS = ${embedded(JSON.stringify(expectedRecords()))};
`,
);
