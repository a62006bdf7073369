// Measures the figures of docs/performance.md, those of a whole process with the compiled executable.
// Use: scripts/bench (see there).
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { startStub } from "./processes.ts";
import { printReport, type Row } from "./report.ts";
import { type Context, type Measured, PARTS } from "./parts.ts";
import { WholeProcess } from "./whole-process.ts";

const { values } = parseArgs({
  options: {
    guests: { type: "string", default: "100" },
    spans: { type: "string", default: "1000000" },
    rounds: { type: "string", default: "3" },
    only: { type: "string", default: Object.keys(PARTS).join(",") },
    json: { type: "string", default: "dist/bench.json" },
  },
});

const directory = mkdtempSync(join(os.tmpdir(), "ktf-bench-"));
// The forwarder becomes another user, or is one, and its spool and sockets are in this directory, which is like /tmp.
chmodSync(directory, 0o1777);
const stub = await startStub();
try {
  const context: Context = {
    guests: Number(values.guests),
    spans: Number(values.spans),
    rounds: Number(values.rounds),
    agent: process.env["KTF_AGENT"] || undefined,
    whole: new WholeProcess(directory, stub),
    directory,
  };
  const measured: Measured[] = [];
  for (const name of values.only.split(",")) {
    const part = PARTS[name];
    if (part === undefined) throw new RangeError(`no part "${name}": there are ${Object.keys(PARTS).join(", ")}`);
    measured.push(await part(context));
  }
  const rows: Row[] = measured.flatMap((part) => part.rows);
  const notes = [
    `${os.availableParallelism()} × ${os.cpus()[0]?.model.trim() ?? "unknown processor"}, Linux ${os.release()}, ` +
    `${context.spans} spans, ${context.rounds} rounds.`,
    "Of decoding the best of many 20 ms rounds, here and in Rust; of a whole process the round with the least CPU " +
    "time of all threads, from its start on; in parentheses what the other rounds gave.",
    ...new Set(measured.flatMap((part) => part.notes)),
  ];
  printReport(rows, notes);
  writeFileSync(values.json, `${JSON.stringify({ rows, notes, measured: measured.map(({ raw }) => raw) }, null, 2)}\n`);
} finally {
  stub.stop();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);
