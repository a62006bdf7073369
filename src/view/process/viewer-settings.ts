import type { ViewerSettings } from "../../pipeline/settings.ts";

/** The variable that holds {@link ProcessSettings} as JSON; a process that has it is the viewer's or its supervisor's. */
export const VIEWER_VARIABLE = "KATA_TRACE_FORWARDER_INTERNAL_VIEWER";

/** What a process of the viewer's is told. */
export interface ProcessSettings {
  /** The supervisor starts the viewer, and starts it again if it is killed. */
  readonly role: "supervisor" | "viewer";
  readonly viewer: ViewerSettings;
  /** Of the messages from the forwarder, hexadecimal. */
  readonly mark: string;
  /** The session's token; absent: a new one. */
  readonly token?: string;
}
