import type { JSX } from "preact";
import { useState } from "preact/hooks";
import {
  change,
  copyLink,
  data,
  filter,
  filterText,
  isConnected,
  lastSandbox,
  notice,
  showsHelp,
  store,
  toggleTheme,
  url,
} from "./state.ts";
import { Key } from "./parts.tsx";

const MIB = 1024 * 1024;
/** What a filter can have. */
const FILTER_WORDS = "name, error, src:agent, dur>5ms, self>1ms, pod:NAME, sandbox:ID, cid:N, key=value";

export function Header(): JSX.Element {
  const { page } = url.value;
  const { problems } = filter.value;
  const sandbox = page === "sandbox" ? url.value.id : lastSandbox.value;
  const link = (name: string, title: string, path: string): JSX.Element => (
    <a href={`#/${path}`} aria-current={page === name ? "page" : undefined}>{title}</a>
  );
  return (
    <header>
      <b>kata traces</b>
      <nav aria-label="Pages">
        {link("sandboxes", "Sandboxes", "sandboxes")}
        {sandbox !== "" && link("sandbox", "Sandbox", `sandbox/${encodeURIComponent(sandbox)}`)}
        {link("operations", "Operations", "operations")}
        {link("compare", "Compare", "compare")}
      </nav>
      <label class={`q${problems.length > 0 ? " wrong" : ""}`}>
        <span aria-hidden="true">⌕</span>
        <input
          id="filter"
          aria-label="Filter"
          placeholder="name, error, src:agent, dur>5ms"
          title={problems.length > 0
            ? `not understood: ${problems.join(" ")}`
            : `words that must all hold: ${FILTER_WORDS}`}
          value={filterText.value}
          onInput={({ currentTarget }) => change({ f: currentTarget.value || undefined, cursor: undefined })}
        />
        <Key>/</Key>
      </label>
      <span class="sp" />
      <Live />
      <button type="button" id="theme" title="Light or dark (t)" aria-label="Light or dark" onClick={toggleTheme}>
        ◐
      </button>
      <Share sandbox={page === "sandbox" ? sandbox : ""} />
    </header>
  );
}

function Live(): JSX.Element {
  if (isConnected.value === undefined) return <span class="live">exported page</span>;
  if (!isConnected.value) return <span class="live bad">not connected: trying again</span>;
  const status = store.value;
  if (status === undefined) return <span class="live" />;
  const limit = Number.isFinite(status.maxBytes) && status.maxBytes < Number.MAX_SAFE_INTEGER
    ? ` of ${Math.round(status.maxBytes / MIB)}`
    : "";
  return (
    <span class="live">
      {status.running > 0 && <span class="dot" />}
      {status.running} running · {Math.ceil(status.bytes / MIB)}
      {limit} MiB
    </span>
  );
}

function Share({ sandbox }: { sandbox: string }): JSX.Element {
  const [isOpen, setOpen] = useState(false);
  const downloads = sandbox === "" ? [] : data().downloads(sandbox);
  return (
    <span class="share">
      <button type="button" class="p" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>Share…</button>
      {isOpen && (
        <span class="menu" role="menu">
          <button type="button" role="menuitem" onClick={() => (setOpen(false), void copyLink())}>Copy link (y)</button>
          {downloads.map(({ name, url }) => (
            <a role="menuitem" href={url} download onClick={() => setOpen(false)}>{name}</a>
          ))}
          {downloads.length > 0 && <small>Environments, arguments and files of containers are left out.</small>}
        </span>
      )}
    </span>
  );
}

/** What is wrong with the store, or has just been done. */
export function Banner(): JSX.Element | null {
  const problem = store.value?.problem;
  if (problem !== undefined) return <div class="banner bad" role="alert">Spans are not stored: {problem}</div>;
  return notice.value === "" ? null : <div class="banner" role="status">{notice.value}</div>;
}

const KEYS: readonly (readonly [string, string])[] = [
  ["j k", "next, previous span"],
  ["h l", "fold or go up, unfold"],
  ["[ ]", "fold all, unfold all"],
  ["z 0", "zoom to the span, show all"],
  ["e E", "next, previous error"],
  ["s S", "next, previous slow span"],
  ["c", "guest's own clock, or aligned"],
  ["/ Esc", "filter, leave it"],
  ["g s", "sandboxes"],
  ["g o", "operations"],
  ["g c", "compare"],
  ["y", "copy link"],
  ["t", "light or dark"],
  ["?", "these keys"],
];

export function Help(): JSX.Element | null {
  if (!showsHelp.value) return null;
  return (
    <div class="help" role="dialog" aria-label="Keys" onClick={() => showsHelp.value = false}>
      <dl>
        {KEYS.map(([keys, what]) => (
          <>
            <dt>{keys.split(" ").map((key) => <Key>{key}</Key>)}</dt>
            <dd>{what}</dd>
          </>
        ))}
        <dt>filter</dt>
        <dd>{FILTER_WORDS}</dd>
      </dl>
    </div>
  );
}

export function Footer(): JSX.Element {
  return (
    <footer>
      <span class="lg">
        <i class="fill-runtime" />runtime (host)
      </span>
      <span class="lg">
        <i class="fill-containerd" />containerd
      </span>
      <span class="lg">
        <i class="fill-agent" />agent (guest)
      </span>
      <span class="lg">
        <i class="gap" />nobody traced this
      </span>
      <span class="lg">
        <i class="crit" />critical path
      </span>
      <span class="lg">
        <i class="range" />p50–p99
      </span>
      <span class="sp" />
      <span class="keys">
        <Key>j</Key> <Key>k</Key> span <Key>h</Key> <Key>l</Key> fold <Key>z</Key> zoom <Key>e</Key> next error{" "}
        <Key>s</Key> next slow <Key>?</Key> all keys
      </span>
    </footer>
  );
}
