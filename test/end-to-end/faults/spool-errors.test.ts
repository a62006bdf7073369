import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { guestLife } from "../../process/support/sandbox.ts";
import { plainFrames } from "../../process/support/spans.ts";
import { test } from "../../process/support/test.ts";
import { until } from "../../support/until.ts";
import { assertEquation } from "./support/equation.ts";
import { report } from "./support/report.ts";
import { Stage } from "./support/stage.ts";

const SPANS = 3000;
/** Together more than several segments of so small a spool hold. */
const SPAN_BYTES = 1000;

/** Calls of the spool to the system, which of them fail (as strace's `when` has it), and of which files. */
interface Failing {
  readonly calls: readonly string[];
  readonly when: string;
  /** Absent: whatever they are called for, because only the spool calls them. */
  readonly names?: readonly string[];
}

const FAILING: Readonly<Record<string, Failing>> = {
  "writes": { calls: ["pwrite64", "pwritev", "pwritev2"], when: "2+3" },
  "syncs of files": { calls: ["fdatasync"], when: "2+3" },
  "syncs of the directory": { calls: ["fsync"], when: "2+3" },
  "renames": { calls: ["rename", "renameat", "renameat2"], when: "2+3" },
  "opens of new files": {
    calls: ["openat", "open"],
    when: "1+2",
    names: Array.from({ length: 60 }, (_, i) => `${String(i + 1).padStart(8, "0")}.segment.new`),
  },
};

/**
 * Runs a program so that some of its calls fail with an error. strace(1) stays in the background, so that signals reach
 * the program.
 */
function through({ calls, when, names = [] }: Failing, code: string, spool: string, log: string): string[] {
  return [
    ...["strace", "--daemonize=grandchild", "--follow-forks", "--quiet=all", "--output", log],
    ...names.flatMap((name) => ["--trace-path", join(spool, name)]),
    ...["--trace", calls.join(), "--inject", `${calls.join()}:error=${code}:when=${when}`],
  ];
}

function requireStrace(): void {
  try {
    execFileSync("strace", ["--version"], { stdio: "pipe" });
  } catch (cause) {
    throw new Error("errors of the disk need strace (Debian: apt-get install strace)", { cause });
  }
}

for (const code of ["ENOSPC", "EIO"]) {
  for (const [what, failing] of Object.entries(FAILING)) {
    test(`${code} of ${what}: nothing that was committed is lost, and the spool goes on`, async () => {
      requireStrace();
      await using stage = await Stage.open({
        args: (sandbox) => ["--spool-dir", sandbox.path("spool"), "--spool-bytes", "8MiB"],
      });
      const { farEnd, sandbox } = stage;
      const spool = sandbox.path("spool");
      fs.mkdirSync(spool, { mode: 0o700 });
      const log = sandbox.path("calls");
      farEnd.answer = () => ({ kind: "status", status: 503 });
      const first = await stage.start({ through: through(failing, code, spool, log) });
      await guestLife(sandbox.address, plainFrames(1, SPANS, SPAN_BYTES));
      await until(async () => {
        const { received, held } = await assertEquation(first);
        return received === SPANS && held === SPANS &&
          await first.metric("spool_batches") === await first.metric("queue_batches");
      }, "all are in the spool in spite of errors");
      const failed = fs.readFileSync(log, "utf8").match(/\(INJECTED\)/g)?.length ?? 0;
      assert.ok(failed > 0, "no call has failed");
      await first.stop("SIGKILL");

      farEnd.answer = () => ({ kind: "ok" });
      const second = await stage.start();
      await until(async () => (await assertEquation(second)).held === 0, "all is delivered");
      assert.equal(farEnd.spans, SPANS);
      assert.deepEqual(second.recordsOf(/damaged/), []);
      await second.stop();
      report(`${code} of ${what}`, {
        "failed calls": failed,
        sent: SPANS,
        arrived: farEnd.spans,
        "came once more": farEnd.duplicates,
        told: first.recordsOf(/^the spool cannot be used/).length,
      });
    });
  }
}
