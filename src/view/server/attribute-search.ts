import type { StoredSandbox, StoreReader } from "../../store/store-reader.ts";
import { attributeViews } from "../sandbox-view.ts";

/** The spans of a sandbox with an attribute whose value holds a text, as `trace:span`. */
export function spansWith(reader: StoreReader, sandbox: StoredSandbox, key: string, text: string): string[] {
  const found: string[] = [];
  for (const { traceId, record } of reader.records(sandbox)) {
    const attributes = attributeViews([...record.attributes, ...record.resource.attributes]);
    const fits = attributes.some((one) => one.key === key && String(one.value).includes(text));
    if (fits) found.push(`${traceId}:${record.spanId}`);
  }
  return found;
}
