import process from "node:process";
import { createLogger } from "../../base/log.ts";
import type { ViewerSettings } from "../../pipeline/settings.ts";
import type { TraceStore } from "../../store/trace-store.ts";
import { ViewServer } from "../server/view-server.ts";
import { drawSandboxes } from "../terminal/draw-sandboxes.ts";
import { type JaegerQuery, jaegerStore } from "../from-jaeger.ts";
import { loadFiles } from "./load-files.ts";

/** What `view FILE…` and `view --from URL` were asked for. */
export interface ViewRequest {
  readonly files: readonly string[];
  readonly from: Omit<JaegerQuery, "labelBy"> | undefined;
  /** The resource attribute that is a sandbox's label. */
  readonly labelBy: string;
  readonly terminal: boolean;
  readonly sandbox: string | undefined;
  readonly settings: { readonly viewer?: ViewerSettings };
}

/**
 * Shows what files, or a Jaeger, hold: in the terminal, or as a page until it is interrupted. Resolves with the exit
 * code. Needs no privileges, and listens nowhere but for the page.
 */
export async function runViewFiles(request: ViewRequest, write: (text: string) => void): Promise<number> {
  const { files, from, labelBy, settings } = request;
  const { store, problems } = from === undefined
    ? loadFiles(files, { labelBy })
    : await jaegerStore({ ...from, labelBy });
  try {
    for (const problem of problems) write(`${problem}\n`);
    if (request.terminal) write(drawSandboxes(store, request.sandbox));
    else await serveStore(store, settings.viewer?.address, write);
    return 0;
  } finally {
    store.close();
  }
}

/** Serves a store as a page until the process is interrupted. Rejects with a `ViewServerError`. */
export async function serveStore(
  store: TraceStore,
  address: ViewerSettings["address"],
  write: (text: string) => void,
): Promise<void> {
  const log = createLogger({
    level: "warn",
    format: "text",
    colour: false,
    write: (line) => process.stderr.write(line),
  });
  const server = await ViewServer.start({ store, address, log });
  write(`Open ${server.url}\n`);
  await new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, resolve);
  });
  await server.close();
}
