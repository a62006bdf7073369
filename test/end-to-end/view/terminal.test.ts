import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after } from "node:test";
import { TraceStore } from "../../../src/store/trace-store.ts";
import { REAL_STREAMS } from "../../decode/support/recorded-streams.ts";
import { EXECUTABLE } from "../../process/support/process.ts";
import { test } from "../../process/support/test.ts";
import { agentRecords, incoming, madeUp } from "../../store/support.ts";
import { until } from "../../support/until.ts";

const directory = mkdtempSync(join(tmpdir(), "ktf-terminal-"));
const SERVER = `ktf-test-${process.pid}`;
const SANDBOX = "61770081df53a60a0ecbb336f4e3cec061770081df53a60a0ecbb336f4e3cec0";
const SESSION = REAL_STREAMS.find(({ file }) => file.includes("4.1.0-session.json"));

/**
 * Runs a command, which Ctrl-C ends, in a terminal of its own. Returns what reads its screen, where lines that it had
 * to break are whole.
 */
function run(name: string, width: number, command: string): () => string {
  tmux(
    "new-session",
    "-d",
    "-s",
    name,
    "-x",
    String(width),
    "-y",
    "120",
    `trap : INT; ${command}; echo END; sleep 600`,
  );
  return () => tmux("capture-pane", "-p", "-J", "-t", name);
}

function tmux(...args: string[]): string {
  const environment = { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8", TERM: "xterm-256color" };
  return execFileSync("tmux", ["-L", SERVER, ...args], { encoding: "utf8", env: environment, stdio: "pipe" });
}

after(() => {
  tmux("kill-server");
  rmSync(directory, { recursive: true });
});

test("view --terminal draws a sandbox as wide as a terminal is, in colour, from its store", async () => {
  assert.ok(SESSION !== undefined);
  const file = join(directory, "traces");
  const store = TraceStore.open(file, { maxBytes: 2 ** 30, keepMs: 3.6e9 });
  const resource = { "kata.sandbox.id": SANDBOX, "service.name": "kata-agent", "k8s.pod.name": "web-3" };
  store.add(incoming("guest", agentRecords(SESSION, resource)));
  store.close();
  for (const width of [120, 80]) {
    const command = `${EXECUTABLE} view ${file} --terminal --sandbox ${SANDBOX.slice(0, 8)}; echo END; sleep 600`;
    tmux("new-session", "-d", "-s", `w${width}`, "-x", String(width), "-y", "120", command);
    const screen = (): string => tmux("capture-pane", "-p", "-t", `w${width}`);
    await until(() => /^END$/m.test(screen()), "it has drawn");
    const lines = screen().trimEnd().split("\n");
    assert.equal(lines[0], `sandbox ${SANDBOX}`);
    assert.equal(lines[1], "ended, 95 spans in 27 traces, pod web-3");
    assert.match(lines[2] ?? "", /^5\.81 s to start: Guest kernel \+ agent 1\.10 s, Sandbox 1\.77 s/);
    const spans = lines.slice(3, 98);
    // A bar for each span, and a line that ends where the terminal does.
    for (const line of spans) assert.match(line, /[█▏].* [mµn]?s$/u);
    for (const line of spans) assert.equal([...line].length, width, line);
    assert.match(tmux("capture-pane", "-p", "-e", "-t", `w${width}`), /\u001b\[36m█/);
  }
});

test("view begins with the URL to open, and says nothing else that nobody has to know", async () => {
  const socket = join(directory, "guests.sock");
  const screen = run("view", 80, `${EXECUTABLE} view --view 127.0.0.1:0 --socket-path ${socket}`);
  await until(() => /Ctrl-C/.test(screen()), "it has begun");
  const lines = screen().trimEnd().split("\n").filter((line) => !/ WARN /.test(line));
  assert.match(lines[0] ?? "", /^Open http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]+$/);
  assert.equal(lines.length, 2, lines.join("\n"));
  tmux("send-keys", "-t", "view", "C-c");
  // The terminal shows Ctrl-C as ^C.
  await until(() => /^(\^C)?END$/m.test(screen()), "it has ended");
});

test("help, a check and a comparison fit into a terminal of 80 columns", async () => {
  const file = join(directory, "labels");
  const store = TraceStore.open(file, { maxBytes: 2 ** 30, keepMs: 3.6e9 });
  const name = "an operation whose name is longer than there is room for";
  for (const label of ["a", "b"]) {
    store.add(incoming("guest", [madeUp({ id: 1, name }, { "kata.sandbox.id": label })]), Date.now(), label);
  }
  store.close();
  for (const [i, words] of ["--help", "view --help", "check", `compare a b --store ${file}`].entries()) {
    const screen = run(`fits${i}`, 80, `${EXECUTABLE} ${words}`);
    await until(() => /^END$/m.test(screen()), `${words} has ended`);
    // Advice and examples are to be copied, and a path may be as long as it likes.
    const text = screen().split("Examples:")[0] ?? "";
    const long = text.split("\n").filter((line) => line.length > 80 && !line.trimStart().startsWith("→"));
    assert.deepEqual(long, [], words);
  }
  assert.match(tmux("capture-pane", "-p", "-t", "fits3"), /an operation.*…/);
});
