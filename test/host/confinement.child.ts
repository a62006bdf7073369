/**
 * A process that gives up what it does not need. Writes what it can still do to standard output, as one line of JSON.
 * Arguments: a directory that may be read, one that may be written, and one that may not be reached.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import process from "node:process";
import { loadLibc } from "../../ffi/libc.ts";
import { forbidDumping } from "../../src/host/dumping.ts";
import { landlockVersion, restrictFiles } from "../../src/host/landlock.ts";
import { attempt } from "./support/attempt.ts";

const [readable = "", writable = "", hidden = ""] = process.argv.slice(2);
const libc = await loadLibc();
forbidDumping(libc);
const restriction = restrictFiles(libc, {
  readable: [readable, "/proc", "/missing"],
  writable: [writable, `${hidden}/shared-file`],
});
const write = (path: string): string => attempt(() => writeFileSync(path, "x"));
const tcp = createServer();
tcp.listen(0, "127.0.0.1");
const bound = await once(tcp, "listening").then(() => "done", () => "refused");
process.stdout.write(`${
  JSON.stringify({
    pid: process.pid,
    version: landlockVersion(libc),
    restriction,
    results: {
      read: attempt(() => readFileSync(`${readable}/file`)),
      list: attempt(() => readdirSync(readable)),
      writeReadable: write(`${readable}/file`),
      createReadable: write(`${readable}/new`),
      create: write(`${writable}/new`),
      remove: attempt(() => rmSync(`${writable}/new`)),
      readHidden: attempt(() => readFileSync(`${hidden}/file`)),
      listHidden: attempt(() => readdirSync(hidden)),
      createHidden: write(`${hidden}/new`),
      writeFile: write(`${hidden}/shared-file`),
      passwd: attempt(() => readFileSync("/etc/passwd")),
      bound,
    },
  })
}\n`);
process.stdin.resume();
await once(process.stdin, "end");
process.exit();
