import { parseSpans, type ReceivedSpan } from "../../collector/spans.ts";

/** A line of `--dump-only`: a span in OTLP/JSON, with its resource and scope inside. */
interface DumpedSpan {
  readonly resource: { readonly schemaUrl: string };
  readonly scope: { readonly schemaUrl: string };
}

/** The spans that `--dump-only` wrote, one JSON object a line. */
export function dumpedSpans(lines: string): ReceivedSpan[] {
  return lines.split("\n").filter((line) => line !== "").flatMap((line) => {
    const { resource, scope, ...span } = JSON.parse(line) as DumpedSpan;
    // As a collector would write it.
    const scopeSpans = [{ scope, schemaUrl: scope.schemaUrl, spans: [span] }];
    const resourceSpans = [{ resource, schemaUrl: resource.schemaUrl, scopeSpans }];
    return parseSpans(JSON.stringify({ resourceSpans }));
  });
}
