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
import { agentRecords, incoming } from "../../store/support.ts";
import { until } from "../../support/until.ts";

const directory = mkdtempSync(join(tmpdir(), "ktf-terminal-"));
const SERVER = `ktf-test-${process.pid}`;
const SANDBOX = "61770081df53a60a0ecbb336f4e3cec061770081df53a60a0ecbb336f4e3cec0";
const SESSION = REAL_STREAMS.find(({ file }) => file.includes("4.1.0-session.json"));

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
