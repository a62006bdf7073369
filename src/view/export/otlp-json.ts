import type { StoredSandbox, StoreReader } from "../../store/store-reader.ts";
import { spansToOtlpJson } from "../../record/write-otlp-json.ts";
import { exportable, type ExportOptions } from "./secrets.ts";

/** A sandbox as one line of OTLP/JSON, which the Collector's file receiver reads. */
export function otlpJsonLines(reader: StoreReader, sandbox: StoredSandbox, options: ExportOptions): string {
  const records = [...reader.records(sandbox)].map(({ record }) => {
    const attributes = exportable(record.attributes, options);
    const dropped = record.attributes.length - attributes.length;
    return { ...record, attributes, droppedAttributesCount: record.droppedAttributesCount + dropped };
  });
  return `${spansToOtlpJson(records)}\n`;
}
