export const PAGES = ["sandboxes", "sandbox", "operations", "compare"] as const;
export type PageName = (typeof PAGES)[number];

/** All that is visible, as it is in the address after `#/`. */
export interface UrlState {
  readonly page: PageName;
  /** Of `sandbox`. */
  readonly id: string;
  /** What else, such as `f` (filter), `span`, `t` (from and to in nanoseconds), `fold`, `clock`, `label`, `a`, `b`. */
  readonly query: URLSearchParams;
}

/** Reads an address's fragment; anything unknown is the list of sandboxes. */
export function parseUrl(hash: string): UrlState {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [page = "", id = ""] = path.split("/");
  const known = PAGES.find((name) => name === page) ?? "sandboxes";
  return { page: known, id: known === "sandbox" ? decode(id) : "", query: new URLSearchParams(query) };
}

/** The fragment of a state; members of the query that are empty are left out. */
export function formatUrl({ page, id, query }: UrlState): string {
  const kept = new URLSearchParams([...query].filter(([, value]) => value !== ""));
  const text = kept.toString();
  return `#/${page}${page === "sandbox" ? `/${encodeURIComponent(id)}` : ""}${text === "" ? "" : `?${text}`}`;
}

/** A state with some members of its query changed; undefined removes one. */
export function withQuery(state: UrlState, changes: Readonly<Record<string, string | undefined>>): UrlState {
  const query = new URLSearchParams(state.query);
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) query.delete(key);
    else query.set(key, value);
  }
  return { ...state, query };
}

/** A stretch of time in the address: `12-34`, nanoseconds since the sandbox's first span. */
export function parseStretch(text: string | null): { from: number; to: number } | undefined {
  const [, from, to] = /^(-?\d+(?:\.\d+)?)-(-?\d+(?:\.\d+)?)$/.exec(text ?? "") ?? [];
  const stretch = { from: Number(from), to: Number(to) };
  return stretch.to > stretch.from ? stretch : undefined;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Somebody typed it: it will not be found.
    return text;
  }
}
