import type * as api from "../api.ts";
import { PAGE_HTML } from "../page-html.ts";
import { type ExportOptions, isExportable } from "./secrets.ts";

/** Where the page looks for its data if it has no server. */
const DATA_ELEMENT = '<script type="application/json" id="data">';

/** What an exported page holds instead of a server. */
export interface EmbeddedData {
  readonly session: api.Session;
  readonly sandboxes: api.SandboxList;
  readonly details: Readonly<Record<string, api.SandboxDetail>>;
  /** By sandbox, then by `trace:span`. */
  readonly spans: Readonly<Record<string, Readonly<Record<string, api.SpanDetail>>>>;
  readonly operations: api.OperationList | undefined;
}

/** What a page is made of; the API's handler has it. */
export interface ExportSource {
  session(): api.Session;
  list(): api.SandboxList;
  detail(sandbox: string): api.SandboxDetail | undefined;
  /** All spans of a sandbox. */
  spanDetails(sandbox: string): Iterable<api.SpanDetail>;
}

/** The viewer's page with some sandboxes in it, as one file that needs no server and no network. */
export function exportHtml(source: ExportSource, sandboxes: readonly string[], options: ExportOptions): string {
  const details: Record<string, api.SandboxDetail> = {};
  const spans: Record<string, Record<string, api.SpanDetail>> = {};
  for (const sid of sandboxes) {
    const detail = source.detail(sid);
    if (detail === undefined) continue;
    details[sid] = detail;
    spans[sid] = {};
    for (const span of source.spanDetails(sid)) {
      const attributes = span.attributes.filter(({ key }) => isExportable(key, options));
      spans[sid][`${span.traceId}:${span.spanId}`] = { ...span, attributes };
    }
  }
  const list = source.list();
  const data: EmbeddedData = {
    session: { ...source.session(), live: false },
    sandboxes: { ...list, sandboxes: list.sandboxes.filter(({ id }) => details[id] !== undefined) },
    details,
    spans,
    operations: undefined,
  };
  // "<" in a string could end the element.
  const json = JSON.stringify(data).replaceAll("<", "\\u003c");
  return PAGE_HTML.replace("</head>", () => `${DATA_ELEMENT}${json}</script></head>`);
}

/** The data of a page that {@link exportHtml} made; undefined if it is another page. */
export function embeddedData(html: string): EmbeddedData | undefined {
  const from = html.indexOf(DATA_ELEMENT);
  if (from < 0) return undefined;
  const to = html.indexOf("</script>", from);
  return JSON.parse(html.slice(from + DATA_ELEMENT.length, to)) as EmbeddedData;
}
