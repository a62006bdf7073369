import { Buffer } from "node:buffer";
import { gunzipSync } from "node:zlib";
import { recordToPart } from "../otlp/record-encoder.ts";
import { parseRecord } from "../record/parse-record.ts";
import { RecordError } from "../record/span-json.ts";
import type { IncomingSpan } from "../store/span-source.ts";
import type { TraceStore } from "../store/trace-store.ts";
import type * as api from "./api.ts";
import { embeddedData } from "./export/html.ts";
import { spansFromExport } from "./export/read-html.ts";

/** Problems that are told one by one; the others are counted. */
const MAX_PROBLEMS = 10;
/** What a compressed file may grow to, bytes. */
const MAX_INFLATED_BYTES = 1024 * 1024 * 1024;
/** Spans that are stored at once. */
const BATCH_SPANS = 2000;

const GZIP_MAGIC = [0x1f, 0x8b];

/**
 * Reads a file's content into a store: OTLP/JSON, dumped spans or Jaeger's JSON, as one document or as lines, a page
 * that was exported, any of them compressed with gzip. A line that cannot be read costs only itself.
 */
export function openRecords(store: TraceStore, content: Uint8Array, label: string): api.Opened {
  const problems: string[] = [];
  let left = 0;
  const problem = (text: string): void => {
    if (problems.length < MAX_PROBLEMS) problems.push(text);
    else left++;
  };
  const before = new Set(store.takeChanged());
  let spans = 0;
  let batch: IncomingSpan[] = [];
  const flush = (): void => {
    spans += store.add(batch, Date.now(), label);
    batch = [];
  };
  for (const span of incomingSpans(inflated(content), problem)) {
    batch.push(span);
    if (batch.length >= BATCH_SPANS) flush();
  }
  flush();
  if (left > 0) problems.push(`${left} more lines cannot be read`);
  const sandboxes = store.takeChanged();
  store.noteChanged([...before, ...sandboxes]);
  return { spans, sandboxes, problems };
}

function inflated(content: Uint8Array): Uint8Array {
  const isGzip = GZIP_MAGIC.every((byte, at) => content[at] === byte);
  return isGzip ? gunzipSync(content, { maxOutputLength: MAX_INFLATED_BYTES }) : content;
}

function* incomingSpans(content: Uint8Array, problem: (text: string) => void): Generator<IncomingSpan> {
  const text = Buffer.from(content.buffer, content.byteOffset, content.length).toString("utf8").replace(/^\ufeff/, "");
  if (/^\s*<!doctype html/i.test(text)) {
    const data = embeddedData(text);
    if (data === undefined) problem("an HTML file that this viewer has not exported");
    else for (const record of spansFromExport(data)) yield { kind: "file", part: recordToPart(record) };
    return;
  }
  const whole = parseWhole(text);
  if (whole !== undefined) {
    yield* recordsOf(whole, "the file", problem);
    return;
  }
  let line = 0;
  for (const each of lines(text)) {
    line++;
    if (each.trim() === "") continue;
    try {
      yield* recordsOf(JSON.parse(each), `line ${line}`, problem);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      problem(`line ${line}: not JSON`);
    }
  }
}

/** The file as one document; undefined if it holds lines. */
function parseWhole(text: string): unknown {
  const end = text.indexOf("\n");
  // A whole first line is a line of many: a document that is on one line is the same as one line.
  if (end >= 0 && text.slice(end).trim() !== "" && isJson(text.slice(0, end))) return undefined;
  return isJson(text) ? JSON.parse(text) : undefined;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return false;
  }
}

function* lines(text: string): Generator<string> {
  let from = 0;
  for (let to = text.indexOf("\n"); to >= 0; to = text.indexOf("\n", from)) {
    yield text.slice(from, to);
    from = to + 1;
  }
  if (from < text.length) yield text.slice(from);
}

function* recordsOf(json: unknown, where: string, problem: (text: string) => void): Generator<IncomingSpan> {
  try {
    for (const record of parseRecord(json)) yield { kind: "file", part: recordToPart(record) };
  } catch (error) {
    if (!(error instanceof RecordError || error instanceof RangeError || error instanceof SyntaxError)) throw error;
    problem(`${where}: ${error.message}`);
  }
}
