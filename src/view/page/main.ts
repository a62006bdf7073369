/// <reference lib="dom" />
import type { SandboxList, SandboxSummary } from "../api.ts";

const main = document.getElementById("main") as HTMLElement;

/** Exchanges the token of the address for a session, and removes it from the address. */
async function openSession(): Promise<void> {
  const token = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (token === undefined) return;
  history.replaceState(undefined, "", "#/sandboxes");
  await fetch("/api/v1/session", { method: "POST", body: JSON.stringify({ token }) });
}

function cell(text: string): HTMLElement {
  const element = document.createElement("td");
  element.textContent = text;
  return element;
}

function row({ id, state, start, spans, errors }: SandboxSummary): HTMLElement {
  const line = document.createElement("tr");
  const took = start === undefined ? "" : `${(start / 1e6).toFixed(1)} ms`;
  line.append(...[id, state, took, String(spans), String(errors)].map(cell));
  return line;
}

async function show(): Promise<void> {
  const answer = await fetch("/api/v1/sandboxes");
  if (!answer.ok) {
    main.textContent = (await answer.json() as { error: string }).error;
    return;
  }
  const { sandboxes } = await answer.json() as SandboxList;
  const table = document.createElement("table");
  table.append(...sandboxes.map(row));
  main.replaceChildren(table);
}

await openSession();
await show();
new EventSource("/api/v1/events").addEventListener("sandbox", () => void show());
