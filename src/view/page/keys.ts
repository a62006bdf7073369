import { useEffect, useRef } from "preact/hooks";
import type { SpanRows } from "./span-rows.ts";
import { change, copyLink, go, showsHelp, toggleTheme } from "./state.ts";
import { padded, type Stretch } from "./time-axis.ts";
import { LEAST_COUNT, type WaterfallView } from "./waterfall.ts";

/** What keys do to a sandbox's page. */
export interface SandboxActions {
  select(item: number): void;
  fold(item: number): void;
  foldAll(isFolded: boolean): void;
  look(stretch: Stretch | undefined): void;
  toggleClock(): void;
}

/** How long after `g` its second key may come, milliseconds. */
const SECOND_KEY_MS = 1500;

/** Keys that work on every page. To be called once. */
export function listenToKeys(): void {
  let goneAt = -Infinity;
  document.addEventListener("keydown", (event) => {
    const input = document.getElementById("filter") as HTMLInputElement | null;
    if (event.key === "Escape") {
      if (document.activeElement === input && input?.value !== "") change({ f: undefined });
      input?.blur();
      showsHelp.value = false;
      return;
    }
    if (!isForPage(event)) return;
    const isSecond = performance.now() - goneAt < SECOND_KEY_MS;
    goneAt = -Infinity;
    const page = ({ s: "sandboxes", o: "operations", c: "compare" } as const)[event.key];
    if (isSecond && page !== undefined) {
      // Not a key of the sandbox's page as well.
      event.stopImmediatePropagation();
      go(page);
    } else if (event.key === "g") goneAt = performance.now();
    else if (event.key === "/") {
      event.preventDefault();
      input?.focus();
    } else if (event.key === "t") toggleTheme();
    else if (event.key === "y") void copyLink();
    else if (event.key === "?") showsHelp.value = !showsHelp.value;
  });
}

/** Keys of a sandbox's page, while it is there. */
export function useKeys(view: WaterfallView, actions: SandboxActions): void {
  const latest = useRef({ view, actions });
  latest.current = { view, actions };
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (isForPage(event)) press(event.key, latest.current.view, latest.current.actions);
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

function isForPage(event: KeyboardEvent): boolean {
  const { target } = event;
  const isTyping = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
  return !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey;
}

function press(key: string, view: WaterfallView, actions: SandboxActions): void {
  const { visible, selected, rows, folded } = view;
  const at = visible.indexOf(selected);
  switch (key) {
    case "j":
    case "ArrowDown":
      return actions.select(visible[Math.min(visible.length - 1, at + 1)] ?? -1);
    case "k":
    case "ArrowUp":
      return actions.select(visible[Math.max(0, at - 1)] ?? -1);
    case "h":
    case "ArrowLeft":
      return foldOrGoUp(view, actions);
    case "l":
    case "ArrowRight":
      return folded.has(selected) ? actions.fold(selected) : undefined;
    case "[":
      return actions.foldAll(true);
    case "]":
      return actions.foldAll(false);
    case "z":
      return selected < 0 ? undefined : actions.look(padded(stretchOf(rows, selected), 0.1));
    case "0":
      return actions.look(undefined);
    case "e":
    case "E":
      return actions.select(nextItem(view, key === "e", (item) => view.detail.columns.error[item] === 1));
    case "s":
    case "S":
      return actions.select(nextItem(view, key === "s", (item) => isSlow(view, item)));
    case "c":
      return actions.toggleClock();
  }
}

function foldOrGoUp({ selected, rows, folded }: WaterfallView, actions: SandboxActions): void {
  if (selected < 0) return;
  if ((rows.children[selected] as number) > 0 && !folded.has(selected)) actions.fold(selected);
  else actions.select(rows.parent[selected] as number);
}

function stretchOf({ start, duration }: SpanRows, item: number): Stretch {
  const from = start[item] as number;
  return { from, to: from + (duration[item] as number) };
}

/** The next item, round and round, that is looked for; the selected one if there is none. */
function nextItem({ visible, selected }: WaterfallView, isForward: boolean, fits: (item: number) => boolean): number {
  const at = visible.indexOf(selected);
  for (let step = 1; step <= visible.length; step++) {
    const offset = isForward ? step : -step;
    const item = visible[(at + offset + 2 * visible.length) % visible.length] as number;
    if (fits(item)) return item;
  }
  return selected;
}

/** Slow: longer than 99 % of its operation's spans. */
function isSlow({ detail, rows }: WaterfallView, item: number): boolean {
  const { columns, ranges } = detail;
  const range = ranges[`${columns.side[item]} ${columns.names[columns.name[item] as number]}`];
  return range !== undefined && range.count >= LEAST_COUNT && (rows.duration[item] as number) > range.p99;
}
