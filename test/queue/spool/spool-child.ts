// A process that uses a spool until it is killed. Arguments: what to do, the spool's directory.
// `hold`: opens it, says "open", waits. `fill`: commits batches and takes out old ones for ever, and says on standard
// output, after each commit, what it committed: "+sequence" and "-sequence".
import { writeSync } from "node:fs";
import process from "node:process";
import { Spool } from "../../../src/queue/spool/spool.ts";
import { childRequest } from "../support.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";

const [mode, directory = ""] = process.argv.slice(2);
const spool = Spool.open(directory, 64 * 1024 * 1024, new RecordingLogger());

function say(text: string): void {
  writeSync(1, `${text}\n`);
}

if (mode === "hold") {
  say("open");
  // Names the spool: one that nothing refers to is collected, and its lock with it.
  setInterval(() => say(String(spool.count)), 1_000_000);
} else {
  let sequence = spool.nextSequence;
  const held = spool.backlog.map((batch) => batch.sequence);
  for (;;) {
    const inserts = [sequence, sequence + 1].map((number) => ({
      sequence: number,
      spans: 3,
      request: childRequest(number),
    }));
    const deletes = held.length > 50 ? held.splice(0, 2) : [];
    // What is being taken out may be gone or not when the process is killed.
    if (deletes.length > 0) say(deletes.map((number) => `-${number}`).join(" "));
    spool.commit(inserts, deletes);
    say(`+${sequence} +${sequence + 1}`);
    held.push(sequence, sequence + 1);
    sequence += 2;
  }
}
