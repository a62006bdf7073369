import assert from "node:assert/strict";
import { existsSync, lstatSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { MAX_DESCRIPTORS, receiveDescriptors } from "../../../ffi/descriptor-passing.ts";
import { loadLibc } from "../../../ffi/libc.ts";
import { MSG_DONTWAIT } from "../../../ffi/sockets.ts";
import {
  isTrustedPeer,
  openTakeOverSocket,
  RELEASED,
  REQUEST,
  RunningProcess,
  send,
  sendAll,
  TakeOverError,
} from "../../../src/host/handover/take-over.ts";
import { cLibraryPath, openLibrary } from "../../../ffi/open-library.ts";
import { loadForeignFunctions } from "../../../ffi/library.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const libc = await loadLibc();
const { accept } = openLibrary(await loadForeignFunctions(), cLibraryPath(), {
  accept: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
});

/** Both ends of a take-over: the running process's side as sockets, the new one's as it is. */
function connect(path: string) {
  const listening = openTakeOverSocket(libc, path);
  const running = RunningProcess.connect(libc, path, undefined) ?? assert.fail("nobody listens");
  const socket = accept(listening, null, null);
  const close = (): void => {
    for (const fd of [listening, socket]) libc.close(fd);
  };
  const request = (): string => new TextDecoder().decode(receiveDescriptors(libc, socket, 100, 0, MSG_DONTWAIT).bytes);
  return { running, socket, close, request };
}

test("all descriptors come under their names, more than fit into one message", async () => {
  using directory = temporaryDirectory();
  const { running, socket, close, request } = connect(join(directory.path, "take-over"));
  assert.equal(isTrustedPeer(libc, socket), true);
  const files = Array.from({ length: MAX_DESCRIPTORS + 20 }, (_, index) => libc.memfdCreate(`${index}`, 0));
  const kept = files.map((descriptor, index) => ({ name: `guest|${"x".repeat(240)}|${index}`, descriptor }));
  const inodes = new Map(kept.map(({ name, descriptor }) => [name, statSync(`/proc/self/fd/${descriptor}`).ino]));
  const inherited = running.takeOver();
  await sendAll(libc, socket, kept, 1000);
  assert.equal(request(), REQUEST);
  await send(libc, socket, RELEASED);
  const got = await inherited;
  assert.deepEqual(got.map(({ name }) => name), kept.map(({ name }) => name));
  for (const { name, descriptor } of got) {
    assert.equal(statSync(`/proc/self/fd/${descriptor}`).ino, inodes.get(name));
    libc.close(descriptor);
  }
  for (const fd of files) libc.close(fd);
  running.close();
  close();
});

test("nothing to hand over is handed over too", async () => {
  using directory = temporaryDirectory();
  const { running, socket, close } = connect(join(directory.path, "take-over"));
  const inherited = running.takeOver();
  await sendAll(libc, socket, [], 1000);
  await send(libc, socket, RELEASED);
  assert.deepEqual(await inherited, []);
  running.close();
  close();
});

for (
  const [what, answer] of [
    ["ends", undefined],
    ["sends what is no announcement", "hello"],
    ["sends something other than its release", '{"names":[],"releaseTimeoutMs":1000}'],
  ] as const
) {
  test(`a running process that ${what} fails the take-over`, async () => {
    using directory = temporaryDirectory();
    const { running, socket, close } = connect(join(directory.path, "take-over"));
    const inherited = running.takeOver();
    if (answer === undefined) close();
    else for (let times = 0; times < 2; times++) await send(libc, socket, answer);
    await assert.rejects(inherited, TakeOverError);
    if (answer !== undefined) close();
  });
}

test("nobody is there if nothing is, if nobody listens any more, and if it is no socket", () => {
  using directory = temporaryDirectory();
  const path = join(directory.path, "take-over");
  assert.equal(RunningProcess.connect(libc, path, undefined), undefined);
  libc.close(openTakeOverSocket(libc, path));
  assert.equal(existsSync(path), true);
  assert.equal(RunningProcess.connect(libc, path, undefined), undefined);
  const again = openTakeOverSocket(libc, path);
  assert.equal(lstatSync(path).mode & 0o777, 0o600);
  libc.close(again);
  const file = join(directory.path, "file");
  writeFileSync(file, "precious");
  assert.equal(RunningProcess.connect(libc, file, undefined), undefined);
  assert.throws(() => openTakeOverSocket(libc, file), TakeOverError);
  assert.equal(statSync(file).size, 8);
  assert.notEqual(process.umask(), 0o777);
});
