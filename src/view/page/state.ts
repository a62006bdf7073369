import { computed, signal } from "@preact/signals";
import type { StoreStatus } from "../api.ts";
import type { DataSource } from "./data-source.ts";
import { type Filter, parseFilter } from "./filter.ts";
import { formatUrl, type PageName, parseUrl, type UrlState, withQuery } from "./url-state.ts";

/** Everything that is visible follows from the address. */
export const url = signal<UrlState>(parseUrl(location.hash));
export const filterText = computed(() => url.value.query.get("f") ?? "");
export const filter = computed<Filter>(() => parseFilter(filterText.value));
export const store = signal<StoreStatus | undefined>(undefined);
/** Whether the server tells of changes; undefined for an exported page. */
export const isConnected = signal<boolean | undefined>(undefined);
/** Counts changes of the sandboxes: what shows them loads them again. */
export const changes = signal<{ readonly sandbox: string; readonly count: number }>({ sandbox: "", count: 0 });
export const showsHelp = signal(false);
/** The sandbox that was looked at last, for the header. */
export const lastSandbox = signal("");

let source: DataSource | undefined;

export function setSource(opened: DataSource): void {
  source = opened;
}

export function data(): DataSource {
  if (source === undefined) throw new Error("no data source yet");
  return source;
}

addEventListener("hashchange", () => {
  url.value = parseUrl(location.hash);
});

/** Goes to another page. */
export function go(page: PageName, id = "", query: Readonly<Record<string, string>> = {}): void {
  location.hash = formatUrl({ page, id, query: new URLSearchParams(query) });
}

/** Changes what is visible of this page, without a step for the browser's "back". */
export function change(query: Readonly<Record<string, string | undefined>>): void {
  const next = withQuery(url.value, query);
  history.replaceState(undefined, "", formatUrl(next));
  url.value = next;
}

/** Light or dark by the system, until somebody chooses. */
export function toggleTheme(): void {
  const root = document.documentElement;
  const isDark = root.dataset["theme"] === "dark" ||
    (root.dataset["theme"] === undefined && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset["theme"] = isDark ? "light" : "dark";
  themeChanges.value++;
}

export const themeChanges = signal(0);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => themeChanges.value++);

export async function copyLink(): Promise<void> {
  await navigator.clipboard?.writeText(location.href);
  notice.value = "Link copied. It opens wherever this viewer can be reached, with a session.";
  setTimeout(() => notice.value = "", 4000);
}

/** One line for a moment. */
export const notice = signal("");
