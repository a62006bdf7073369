import type {
  Comparison,
  OperationList,
  SandboxDetail,
  SandboxList,
  SandboxSummary,
  Session,
  SpanDetail,
  StoreStatus,
} from "../api.ts";
import { fitsQuery } from "./sandbox-query.ts";

/** Where the page has its data from: a server, or itself if it was exported. */
export interface DataSource {
  readonly isLive: boolean;
  session(): Promise<Session>;
  sandboxes(query: URLSearchParams): Promise<SandboxList>;
  sandbox(id: string): Promise<SandboxDetail>;
  span(sandbox: string, trace: string, span: string): Promise<SpanDetail>;
  /** The spans with an attribute whose value holds a text, as `trace:span`. */
  spansWith(sandbox: string, key: string, value: string): Promise<readonly string[]>;
  operations(query: URLSearchParams): Promise<OperationList>;
  compare(a: string, b: string): Promise<Comparison>;
  /** Calls back whenever a sandbox or the store has changed; returns what ends that. */
  follow(
    changed: (sandbox: string) => void,
    store: (status: StoreStatus) => void,
    connected: (is: boolean) => void,
  ): () => void;
  /** Where a sandbox can be downloaded from, by format; empty for an exported page. */
  downloads(sandbox: string): readonly { readonly name: string; readonly url: string }[];
}

/** An error that a person should read. */
export class PageError extends Error {
  override readonly name = "PageError";
}

/** What an exported page holds instead of a server. */
interface EmbeddedData {
  readonly session: Session;
  readonly sandboxes: SandboxList;
  readonly details: Readonly<Record<string, SandboxDetail>>;
  readonly spans: Readonly<Record<string, Readonly<Record<string, SpanDetail>>>>;
  readonly operations?: OperationList;
}

export function openDataSource(): DataSource {
  const embedded = document.getElementById("data")?.textContent;
  return embedded ? new EmbeddedSource(JSON.parse(embedded) as EmbeddedData) : new ServerSource();
}

/** Exchanges the token of the address for a session, and removes it from the address. */
export async function openSession(): Promise<void> {
  const token = /^#token=([\w-]+)/.exec(location.hash)?.[1];
  if (token === undefined) return;
  history.replaceState(undefined, "", `${location.pathname}#/sandboxes`);
  await fetch("/api/v1/session", { method: "POST", body: JSON.stringify({ token }) });
}

class ServerSource implements DataSource {
  readonly isLive = true;

  session(): Promise<Session> {
    return this.#get("/session");
  }
  sandboxes(query: URLSearchParams): Promise<SandboxList> {
    return this.#get(`/sandboxes?${query}`);
  }
  sandbox(id: string): Promise<SandboxDetail> {
    return this.#get(`/sandboxes/${encodeURIComponent(id)}`);
  }
  span(sandbox: string, trace: string, span: string): Promise<SpanDetail> {
    return this.#get(`/sandboxes/${encodeURIComponent(sandbox)}/spans/${span}?trace=${trace}`);
  }
  async spansWith(sandbox: string, key: string, value: string): Promise<readonly string[]> {
    const query = new URLSearchParams({ key, value });
    return (await this.#get<{ spans: string[] }>(`/sandboxes/${encodeURIComponent(sandbox)}/spans?${query}`)).spans;
  }
  operations(query: URLSearchParams): Promise<OperationList> {
    return this.#get(`/operations?${query}`);
  }
  compare(a: string, b: string): Promise<Comparison> {
    return this.#get(`/compare?${new URLSearchParams({ a, b })}`);
  }
  downloads(sandbox: string): readonly { name: string; url: string }[] {
    const base = `/api/v1/sandboxes/${encodeURIComponent(sandbox)}`;
    return [
      { name: "This page as a file (.html)", url: `${base}.html` },
      { name: "OTLP/JSON", url: `${base}.otlp.json` },
      { name: "Perfetto trace", url: `${base}.perfetto.json` },
    ];
  }
  follow(
    changed: (sandbox: string) => void,
    store: (status: StoreStatus) => void,
    connected: (is: boolean) => void,
  ): () => void {
    const events = new EventSource("/api/v1/events");
    events.addEventListener("open", () => connected(true));
    // The browser connects again by itself.
    events.addEventListener("error", () => connected(false));
    events.addEventListener("sandbox", ({ data }) => changed((JSON.parse(data as string) as { id: string }).id));
    events.addEventListener("store", ({ data }) => store(JSON.parse(data as string) as StoreStatus));
    return () => events.close();
  }

  async #get<Answer>(path: string): Promise<Answer> {
    let answer: Response;
    try {
      answer = await fetch(`/api/v1${path}`);
    } catch {
      throw new PageError("The viewer does not answer: is it still running?");
    }
    if (!answer.ok) throw new PageError((await answer.json() as { error: string }).error);
    return await answer.json() as Answer;
  }
}

class EmbeddedSource implements DataSource {
  readonly isLive = false;
  readonly #data: EmbeddedData;

  constructor(data: EmbeddedData) {
    this.#data = data;
  }

  session(): Promise<Session> {
    return Promise.resolve(this.#data.session);
  }
  sandboxes(query: URLSearchParams): Promise<SandboxList> {
    const isWanted = (sandbox: SandboxSummary): boolean =>
      fitsQuery(sandbox, query.get("q") ?? "") && (!query.has("error") || sandbox.errors > 0) &&
      (["state", "label", "vmm"] as const).every((key) => !query.get(key) || sandbox[key] === query.get(key));
    const sandboxes = this.#data.sandboxes.sandboxes.filter(isWanted);
    return Promise.resolve({ ...this.#data.sandboxes, sandboxes, total: sandboxes.length });
  }
  sandbox(id: string): Promise<SandboxDetail> {
    const detail = this.#data.details[id];
    return detail === undefined
      ? Promise.reject(new PageError("This file does not hold that sandbox."))
      : Promise.resolve(detail);
  }
  span(sandbox: string, trace: string, span: string): Promise<SpanDetail> {
    const detail = this.#data.spans[sandbox]?.[`${trace}:${span}`];
    return detail === undefined
      ? Promise.reject(new PageError("This file does not hold that span."))
      : Promise.resolve(detail);
  }
  spansWith(sandbox: string, key: string, value: string): Promise<readonly string[]> {
    const found = Object.entries(this.#data.spans[sandbox] ?? {}).filter(([, { attributes }]) =>
      attributes.some((one) => one.key === key && String(one.value).includes(value))
    );
    return Promise.resolve(found.map(([id]) => id));
  }
  operations(): Promise<OperationList> {
    const { operations } = this.#data;
    return operations === undefined
      ? Promise.reject(new PageError("An exported page holds sandboxes only: operations need the viewer itself."))
      : Promise.resolve(operations);
  }
  compare(): Promise<Comparison> {
    return Promise.reject(new PageError("An exported page holds sandboxes only: comparing needs the viewer itself."));
  }
  downloads(): readonly [] {
    return [];
  }
  follow(): () => void {
    return () => {};
  }
}
