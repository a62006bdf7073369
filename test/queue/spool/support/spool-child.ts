// A process that uses a spool until it is killed. Arguments: what to do, the spool's directory.
// `hold`: opens it, says "open", waits. `fill`: commits records and removes old ones forever, and says on standard
// output what it does: "+number" has been committed, "-number" is being removed, ".number" has been removed.
import { writeSync } from "node:fs";
import process from "node:process";
import { loadLibc } from "../../../../ffi/libc.ts";
import { FileStorage } from "../../../../src/queue/spool/file-storage.ts";
import { Spool } from "../../../../src/queue/spool/spool.ts";
import { RecordingLogger } from "../../../support/recording-logger.ts";
import { numberOf, record } from "./records.ts";

const [mode, directory = ""] = process.argv.slice(2);
const storage = FileStorage.open(directory, await loadLibc());
const spool = Spool.open({ storage, maxBytes: 64 * 1024 * 1024, log: new RecordingLogger() });

function say(sign: string, numbers: readonly number[]): void {
  writeSync(1, `${numbers.map((number) => `${sign}${number}`).join(" ")}\n`);
}

if (mode === "hold") {
  writeSync(1, "open\n");
  // Names the spool: one that nothing refers to is collected, and its lock with it.
  setInterval(() => say("", [spool.count]), 1_000_000);
} else {
  const held = [...spool.recovered()].map(({ id }) => ({ id, number: numberOf(spool.read(id) as Uint8Array) }));
  let number = Math.max(0, ...held.map((each) => each.number));
  for (;;) {
    const added = [1, 2].map(() => {
      number++;
      return { number, id: spool.append(record(number, 10 + (number * 7919) % 60_000)) };
    });
    await spool.commit();
    say("+", added.map((each) => each.number));
    held.push(...added);
    const old = held.length > 50 ? held.splice(0, 2) : [];
    if (old.length > 0) {
      say("-", old.map((each) => each.number));
      spool.remove(old.map(({ id }) => id));
      say(".", old.map((each) => each.number));
    }
  }
}
