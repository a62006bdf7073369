import { Buffer } from "node:buffer";
import { renameSync, rmSync } from "node:fs";
import process from "node:process";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describeError, type Logger } from "../../base/log.ts";
import { splitRequest } from "../../otlp/request.ts";
import type { IncomingSpan } from "../../store/span-source.ts";
import { StoreError } from "../../store/store-error.ts";
import { TraceStore } from "../../store/trace-store.ts";
import { ViewServer } from "../server/view-server.ts";
import { commitsOf } from "./commits.ts";
import { MessageReader, type ViewerMessage, type ViewerReport } from "./protocol.ts";
import type { ViewerSettings } from "../../pipeline/settings.ts";
import type { ProcessSettings } from "./viewer-settings.ts";

/** How often sandboxes that are too old are removed from the store, milliseconds. */
const PRUNE_MS = 5_000;

/** Runs the viewer's process to its end; resolves with its exit code. Why it cannot start is told to the forwarder. */
export async function viewerMain(settings: ProcessSettings): Promise<number> {
  try {
    await runViewer(settings);
    return 0;
  } catch (error) {
    report({ event: "failed", error: describeError(error) });
    return 1;
  }
}

/**
 * The viewer's own process: it stores what the forwarder writes to its standard input and serves the page, so that
 * neither a slow disk nor a hundred browsers take time from the forwarder. It ends when its standard input does.
 */
async function runViewer({ viewer: settings, mark, token }: ProcessSettings): Promise<void> {
  // The forwarder decides when this ends: a terminal's Ctrl-C and a service manager's SIGTERM go to both.
  for (const signal of ["SIGINT", "SIGHUP", "SIGTERM"] as const) process.on(signal, () => {});
  const store = openStore(settings);
  const server = await ViewServer.start({ store, address: settings.address, log: REPORTING_LOG, token });
  report({ event: "serving", url: server.url });
  server.handler.prepare().catch((error: unknown) => {
    REPORTING_LOG.error("the store's sandboxes cannot be computed", { error: describeError(error as Error) });
  });
  const prune = setInterval(() => attempt(store, () => store.prune(), "the trace store cannot be pruned"), PRUNE_MS);
  const connections = new Connections(store);
  const messages = new MessageReader(Buffer.from(mark, "hex"));
  for await (const bytes of process.stdin as AsyncIterable<Uint8Array>) {
    const spans: IncomingSpan[] = [];
    for (const message of messages.push(bytes)) {
      if (message.type === "chunk") spans.push(...spansOf(message));
      else attempt(store, () => connections.note(message), "the trace store cannot be written");
    }
    for (const commit of commitsOf(spans)) {
      attempt(store, () => store.add(commit), "spans are not stored");
      await nextTurn();
    }
    server.changed();
  }
  clearInterval(prune);
  await server.close();
  store.close();
}

/** Opens the store. A damaged one is moved away, because new spans matter more than those that cannot be read. */
function openStore({ store = "", storeBytes, storeKeepMs, label }: ViewerSettings): TraceStore {
  const open = (): TraceStore => TraceStore.open(store, { maxBytes: storeBytes, keepMs: storeKeepMs }, label);
  try {
    return open();
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "damaged") throw error;
    setAside(store, error);
    return open();
  }
}

/** Moves a damaged store away, so that the next one begins in its place. */
function setAside(store: string, why: StoreError): void {
  const aside = `${store}.damaged`;
  renameSync(store, aside);
  // They belong to the damaged file.
  for (const suffix of ["-wal", "-shm"]) rmSync(`${store}${suffix}`, { force: true });
  REPORTING_LOG.error(`the trace store is damaged: it is now ${aside}, and a new one begins`, { error: why.message });
}

function spansOf({ kind, bytes }: ViewerMessage & { type: "chunk" }): IncomingSpan[] {
  return splitRequest(bytes).map((part) => ({ kind, part }));
}

/** Which guests are connected: a sandbox runs as long as one of its connections is open. */
class Connections {
  readonly #store: TraceStore;
  readonly #open = new Map<string, number>();

  constructor(store: TraceStore) {
    this.#store = store;
  }

  note(message: Exclude<ViewerMessage, { type: "chunk" }>): void {
    if (message.type === "reset") return this.#open.clear();
    const { type, source } = message;
    const { kind, sandbox, cid } = source;
    const id = sandbox ?? (cid === undefined ? undefined : `cid-${cid}`);
    if (kind !== "guest" || id === undefined) return;
    const before = this.#open.get(id) ?? 0;
    const after = type === "opened" ? before + 1 : Math.max(0, before - 1);
    if (after > 0) this.#open.set(id, after);
    else this.#open.delete(id);
    if (before === 0 && after > 0) this.#store.setRunning({ sandbox, cid });
    else if (before > 0 && after === 0) this.#store.setEnded({ sandbox, cid });
  }
}

/** The last problem that was told: a full disk is told once. */
let told: string | undefined;

function attempt(store: TraceStore, action: () => void, what: string): void {
  try {
    action();
    told = undefined;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    if (error.code === "damaged") {
      // The supervisor starts another viewer, which begins a new one.
      setAside(store.database.file, error);
      throw error;
    }
    if (told !== error.message) REPORTING_LOG.warn(`${what}; forwarding goes on`, { error: error.message });
    told = error.message;
  }
}

/** Writes one line to the forwarder. */
function report(line: ViewerReport): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const say =
  (level: "info" | "warn" | "error") => (message: string, fields?: Readonly<Record<string, unknown>>): void => {
    const error = fields?.["error"];
    report({
      event: "log",
      level,
      message,
      ...(error !== undefined && { error: error instanceof Error ? describeError(error) : String(error) }),
    });
  };

/** A log whose records go into the forwarder's. */
const REPORTING_LOG: Logger = {
  log: (_level, message, fields) => say("info")(message, fields),
  debug: () => {},
  info: say("info"),
  warn: say("warn"),
  error: say("error"),
  of: () => REPORTING_LOG,
};
