import type { ServerResponse } from "node:http";
import type * as api from "../api.ts";
import type { ApiHandler } from "./api-handler.ts";

/** How often a page hears of changes at most, milliseconds. */
const ANNOUNCE_MS = 250;
/** A line now and then, so that a proxy in between does not take the stream for dead, milliseconds. */
const HEARTBEAT_MS = 15_000;
/** A page that does not read is disconnected when so much waits for it, bytes; it comes again by itself. */
const MAX_WAITING_BYTES = 1024 * 1024;

/**
 * Tells open pages what has changed (server-sent events,
 * https://html.spec.whatwg.org/multipage/server-sent-events.html).
 */
export class EventStream {
  readonly #handler: ApiHandler;
  readonly #pages = new Set<ServerResponse>();
  readonly #changed = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heartbeat: ReturnType<typeof setInterval> | undefined;

  constructor(handler: ApiHandler) {
    this.#handler = handler;
  }

  /** A page listens from now on; its headers have been written. */
  add(page: ServerResponse): void {
    this.#pages.add(page);
    page.once("close", () => this.#pages.delete(page));
    page.write(`retry: 1000\n${event("store", this.#handler.status())}`);
    this.#heartbeat ??= setInterval(() => this.#broadcast(": still here\n\n"), HEARTBEAT_MS);
  }

  /** These sandboxes have changed. */
  announce(sandboxes: readonly string[]): void {
    for (const sandbox of sandboxes) this.#changed.add(sandbox);
    if (this.#pages.size === 0) this.#changed.clear();
    if (this.#changed.size === 0) return;
    this.#timer ??= setTimeout(() => this.#tellChanges(), ANNOUNCE_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#heartbeat);
    for (const page of this.#pages) page.destroy();
  }

  #tellChanges(): void {
    this.#timer = undefined;
    let text = "";
    for (const id of this.#changed) {
      const stored = this.#handler.reader.sandbox(id);
      const state = stored?.isRunning ? "running" : "ended";
      text += event("sandbox", { id, spans: stored?.spans ?? 0, state });
    }
    this.#changed.clear();
    this.#broadcast(text + event("store", this.#handler.status()));
  }

  #broadcast(text: string): void {
    for (const page of this.#pages) {
      if (page.writableLength > MAX_WAITING_BYTES) page.destroy();
      else page.write(text);
    }
  }
}

function event<Name extends keyof api.ApiEvents>(name: Name, data: api.ApiEvents[Name]): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}
