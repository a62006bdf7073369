import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { dial, send, turns } from "./guests.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const CHILD = fileURLToPath(new URL("./descriptor-limit.child.ts", import.meta.url));
const RUN = "Bun" in globalThis ? [] : ["run", "--no-check", "--unstable-vsock", "--allow-all"];
const OPEN_FILES = 80;
const GUESTS = 120;

interface Figures {
  readonly accepted: number;
  readonly whole: number;
  readonly files: number;
  readonly problems: readonly string[];
}

test("a process at its limit of open files has files left, and takes every guest in the end", async () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "vm.sock");
  const limited = ["-c", `ulimit -n ${OPEN_FILES}; exec "$@"`, "sh"];
  const child = spawn("sh", [...limited, process.execPath, ...RUN, CHILD, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const figures = async (): Promise<Figures> => {
    child.stdin.write("\n");
    return JSON.parse(String((await lines.next()).value));
  };
  assert.equal((await lines.next()).value, "listening");

  const clients = [];
  for (let client = 0; client < GUESTS; client++) {
    const socket = await dial(`${path}_1`);
    await send(socket, "hello");
    clients.push(socket);
  }
  // Half of the limit is for guests; the socket that listens is one, and Deno has an accept under way.
  let full = await figures();
  while (full.accepted < OPEN_FILES / 2 - 1) full = await figures();
  await turns();
  full = await figures();
  assert([OPEN_FILES / 2 - 1, OPEN_FILES / 2].includes(full.accepted), `${full.accepted} accepted`);
  assert.equal(full.files, 8);
  assert.equal(full.problems.length, 1);
  assert.match(String(full.problems[0]), /^guests have used up the 40 file descriptors/);

  for (const client of clients) client.end();
  let end = await figures();
  while (end.whole < GUESTS) end = await figures();
  assert.deepEqual(end, { accepted: GUESTS, whole: GUESTS, files: 8, problems: full.problems });
  child.stdin.end();
  await once(child, "close");
});
