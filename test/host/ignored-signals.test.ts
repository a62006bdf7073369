import assert from "node:assert/strict";
import { test } from "node:test";
import { isIgnored } from "../../src/host/ignored-signals.ts";

test("a signal is ignored if its bit is set", () => {
  // SIGHUP as `nohup` sets it, and SIGPIPE (13) as runtimes set it.
  const status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000014003\n";
  assert.equal(isIgnored("SIGHUP", status), true);
  assert.equal(isIgnored("SIGPIPE", status), true);
  for (const signal of ["SIGINT", "SIGTERM", "SIGUSR1", "SIGKILL"] as const) {
    assert.equal(isIgnored(signal, status), false, signal);
  }
});

test("a status without the line ignores nothing", () => {
  assert.equal(isIgnored("SIGHUP", "Name:\tbun\n"), false);
});

test("this process's own status can be read", () => {
  assert.equal(isIgnored("SIGSTOP"), false);
});
