import type { KeyValueRecord } from "../../otlp/span-record.ts";

/** What an export holds. */
export interface ExportOptions {
  /** Attributes that hold a container's environment, arguments and files: left out unless somebody asks for them. */
  readonly withSecrets: boolean;
}

/**
 * The agent's attributes that are debug text of requests and of its own state. They hold environments and arguments of
 * containers, proxy URLs and copied files.
 */
const SECRET_ATTRIBUTES: ReadonlySet<string> = new Set(["req", "self", "spec", "env", "c", "config"]);

/** The attributes that may be exported. */
export function exportable(attributes: readonly KeyValueRecord[], { withSecrets }: ExportOptions): KeyValueRecord[] {
  return withSecrets ? [...attributes] : attributes.filter(({ key }) => !SECRET_ATTRIBUTES.has(key));
}

/** Whether an attribute of this name may be exported. */
export function isExportable(key: string, { withSecrets }: ExportOptions): boolean {
  return withSecrets || !SECRET_ATTRIBUTES.has(key);
}
