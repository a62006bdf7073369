import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { check } from "../../src/check/check.ts";
import { STATES } from "../../src/check/finding.ts";
import { jsonOf, tableOf } from "../../src/check/table.ts";
import { FakeHost } from "./fake-host.ts";
import { settingsOf } from "./settings.ts";

const FINDINGS = [
  { area: "vsock", item: "/dev/kvm", state: "ok", found: "there" },
  { area: "vsock", item: "port", state: "problem", found: "taken\u001b[31m", advice: "stop\nit" },
  { area: "Time", item: "clock", state: "unknown", found: "hidden" },
] as const;

test("the table has a heading for each area, advice under its row, and a summary", () => {
  assert.equal(
    tableOf(FINDINGS),
    [
      "vsock",
      `  ok       ${"/dev/kvm".padEnd(34)}  there`,
      `  PROBLEM  ${"port".padEnd(34)}  taken\\u{1b}[31m`,
      "           → stop\\u{a}it",
      "",
      "Time",
      `  ?        ${"clock".padEnd(34)}  hidden`,
      "",
      "Not ready: 1 problem, 0 warnings, 1 thing that could not be seen.",
      "",
    ].join("\n"),
  );
});

test("on a narrow terminal what was found is broken at blanks, and advice, which is to be copied, is not", () => {
  const advice = `modprobe vhost_vsock ${"x".repeat(80)}`;
  const found = `missing: the module vhost_vsock is not loaded, and ${"y".repeat(60)}`;
  const table = tableOf([{ area: "vsock", item: "/dev/vhost-vsock", state: "problem", found, advice }], 80);
  const indent = " ".repeat(37);
  assert.deepEqual(table.split("\n").slice(1, 6), [
    `  PROBLEM  ${"/dev/vhost-vsock".padEnd(24)}  missing: the module vhost_vsock is not`,
    `${indent}loaded, and`,
    `${indent}${"y".repeat(60)}`,
    `           → ${advice}`,
    "",
  ]);
});

test("JSON says the same, and whether it is ready", () => {
  const text = jsonOf(FINDINGS);
  assert.equal(text.indexOf("\n"), text.length - 1);
  const value = JSON.parse(text) as { ready: boolean; findings: unknown };
  assert.equal(value.ready, false);
  assert.deepEqual(value.findings, FINDINGS);
  assert.equal((JSON.parse(jsonOf(FINDINGS.slice(0, 1))) as { ready: boolean }).ready, true);
});

/** Everything below a directory: paths, and of files their size and the time of their last change. */
function contents(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).sort().map((path) => {
    const { size, mtimeMs } = statSync(join(directory, path));
    return `${path} ${size} ${mtimeMs}`;
  });
}

test("a check changes nothing", async () => {
  using host = new FakeHost({
    "/etc/kata-containers/configuration.toml": "[runtime]\nenable_tracing = true\n",
    "/proc/net/tcp": "",
  });
  host.directory("/run/vc/vm/sandbox");
  host.directory("/var/lib/kata-trace-forwarder");
  const before = contents(host.root);
  const spool = ["--spool-dir", "/var/lib/kata-trace-forwarder/spool", "--dead-letter", "/var/lib/x/dead.jsonl"];
  await check(settingsOf("--dump-only", ...spool), { root: host.root, environment: {}, tryVsock: () => {} });
  assert.deepEqual(contents(host.root), before);
});

test("an empty host is looked at in every area", async () => {
  using host = new FakeHost();
  const findings = await check(settingsOf("--dump-only"), { root: host.root, environment: {}, tryVsock: () => {} });
  assert.deepEqual(
    [...new Set(findings.map(({ area }) => area))],
    ["vsock", "Kata Containers", "Sandboxes", "Rights", "Ports", "Collector", "Disk", "Time", "Limits"],
  );
  for (const { state, found } of findings) {
    assert.ok(STATES.includes(state));
    assert.notEqual(found, "");
  }
});
