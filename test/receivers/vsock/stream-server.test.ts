import assert from "node:assert/strict";
import { linkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadStreamServers, type StreamServer } from "../../../src/receivers/vsock/stream-server.ts";
import { dial, openDescriptors, turns } from "./guests.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

/** Waits until so many files are open: runtimes close them in their own time. */
async function filesBecome(expected: number): Promise<void> {
  while (openDescriptors() !== expected) await turns(1);
}

test("a server takes one descriptor, paused or not, however often it has been paused", async () => {
  using directory = temporaryDirectory();
  // A runtime removes the name that it bound when it closes a listener of it.
  const [bound, path] = [join(directory.path, "bound"), join(directory.path, "socket")];
  const servers = await loadStreamServers();
  const problems: unknown[] = [];
  let accepted = 0;
  const handlers = {
    accept: () => {
      accepted++;
      return { data: () => {}, end: () => {} };
    },
    problem: (message: string, error: unknown) => void problems.push(message, error),
  };
  const before = openDescriptors();
  const server: StreamServer = servers.unix(bound, handlers);
  linkSync(bound, path);
  const listening = before + 1;
  await filesBecome(listening);
  for (let round = 1; round <= 3; round++) {
    server.pause();
    server.pause();
    await filesBecome(listening);
    const waiting = await dial(path);
    assert.equal(server.resume(), true);
    assert.equal(server.resume(), true);
    while (accepted < round) await turns(1);
    waiting.end();
    waiting.resume();
    await filesBecome(listening);
  }
  server.pause();
  await server.close();
  await filesBecome(before);
  assert.deepEqual(problems, []);
});
