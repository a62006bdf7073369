import assert from "node:assert/strict";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { TemplateListener } from "../../../src/receivers/vsock/template-listener.ts";
import { type PendingTimer, watchTimers } from "../../support/pending-timers.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { until } from "../../support/until.ts";
import { Guests, options } from "./guests.ts";

/** What is looked at because no event tells of it, milliseconds: everything, and what cannot be watched. */
const RESCAN_MS = 10_000;
const UNWATCHED_RESCAN_MS = 1000;

test("directories are looked at often only while the kernel has no events for something about them", async () => {
  using temporary = temporaryDirectory();
  const directory = join(temporary.path, "vc", "vm");
  const using = options(64);
  const settings = { directory, between: [], name: "vm.sock", port: 7, mode: 0o660 };
  const listener = new TemplateListener(settings, using);
  await listener.listen(new Guests().accept);
  using timers = watchTimers();
  // What other tests have left behind in this process may set timers meanwhile.
  const own = (): readonly PendingTimer[] => timers.list().filter(({ stack }) => stack.includes("sandbox-template.ts"));
  const delays = (): number[] => own().map(({ delayMs }) => delayMs);
  listener.begin();
  // It is not there yet.
  assert.deepEqual(delays(), [RESCAN_MS]);
  mkdirSync(join(directory, "box"), { recursive: true, mode: 0o750 });
  await until(() => using.budget.used === 1, "a socket");
  assert.deepEqual(delays(), [RESCAN_MS]);
  symlinkSync("box", join(directory, "link"));
  await until(() => using.problems.length > 0, "the link is refused");
  assert.deepEqual(delays(), [UNWATCHED_RESCAN_MS]);
  rmSync(join(directory, "link"));
  await until(() => delays().includes(RESCAN_MS), "nothing is looked at often");
  await listener.stopAccepting();
  assert.deepEqual(delays(), []);
});
