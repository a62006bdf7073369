// A forwarder of an earlier version, as far as its spool is concerned. Arguments: what to do, the database.
// `hold`: opens it and waits. `fill`: commits ten batches, which stay in the write-ahead log, and waits.
import { writeSync } from "node:fs";
import process from "node:process";
import { openOldDatabase } from "./old-database.ts";
import { payload } from "./records.ts";

const [mode, path = ""] = process.argv.slice(2);
const numbers = mode === "fill" ? Array.from({ length: 10 }, (_, i) => 21 + i) : [];
const database = openOldDatabase(
  path,
  numbers.map((sequence) => ({ sequence, spans: sequence % 7 + 1, request: payload(sequence, 20_000) })),
);
writeSync(1, "open\n");
// Names the database: one that nothing refers to is collected, and its lock with it.
setInterval(() => writeSync(1, `${database.isOpen}\n`), 1_000_000);
