import assert from "node:assert/strict";
import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { LibcError } from "../../../ffi/errors.ts";
import { type Libc, loadLibc } from "../../../ffi/libc.ts";
import type { DirectoryEvent } from "../../../src/receivers/vsock/directory-watcher.ts";
import { DirectoryWatches } from "../../../src/receivers/vsock/directory-watches.ts";
import { TemplateListener } from "../../../src/receivers/vsock/template-listener.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { until } from "../../support/until.ts";
import { bytesOf, dial, Guests, inotifies, options } from "./guests.ts";

const libc = await loadLibc();
/** errno(3) */
const ENOSPC = 28, EMFILE = 24;

/** A C library that has no more of something to give, as long as `isUsedUp`. */
function usedUp(what: "inotifyInit" | "inotifyAddWatch", errno: number) {
  const limit = { isUsedUp: true };
  const limited: Libc = Object.create(libc, {
    socket: { value: libc.socket.bind(libc) },
  });
  for (const name of ["inotifyInit", "inotifyAddWatch", "inotifyRemoveWatch", "fcntl", "read", "close"] as const) {
    const original = (libc[name] as (...args: unknown[]) => unknown).bind(libc);
    Object.defineProperty(limited, name, {
      value: (...args: unknown[]) => {
        if (name === what && limit.isUsedUp) throw new LibcError(name, errno);
        return original(...args);
      },
    });
  }
  return { limit, limited };
}

function watchesOf(using: Libc) {
  const problems: string[] = [];
  return { problems, watches: new DirectoryWatches(using, (message) => problems.push(message)) };
}

test("one inotify instance serves all watches, and is there only as long as there are any", async () => {
  using directory = temporaryDirectory();
  const before = inotifies();
  const { watches, problems } = watchesOf(libc);
  assert.equal(inotifies(), before);
  const events: DirectoryEvent[] = [];
  const [first, second] = [0, 1].map(() => watches.watch(directory.path, (event) => events.push(event)));
  assert.equal(inotifies(), before + 1);
  mkdirSync(join(directory.path, "a"));
  await until(() => events.length === 2);
  assert.deepEqual(events, Array(2).fill({ kind: "changed", name: "a" }));
  first?.release();
  first?.release();
  assert.equal(inotifies(), before + 1);
  second?.release();
  assert.equal(inotifies(), before);
  watches.watch(directory.path, () => {})?.release();
  assert.deepEqual([inotifies(), problems, watches.isIncomplete], [before, [], false]);
  rmdirSync(join(directory.path, "a"));
});

for (
  const [what, errno, limit] of [
    ["inotifyInit", EMFILE, /^fs\.inotify\.max_user_instances .*is used up.*sysctl/],
    ["inotifyAddWatch", ENOSPC, /^fs\.inotify\.max_user_watches is used up.*sysctl/],
  ] as const
) {
  test(`${what}: what is used up is named once, and again after it was not`, () => {
    using directory = temporaryDirectory();
    const before = inotifies();
    const { limited, limit: state } = usedUp(what, errno);
    const { watches, problems } = watchesOf(limited);
    for (let i = 0; i < 3; i++) assert.equal(watches.watch(directory.path, () => {}), undefined);
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? "", limit);
    assert.deepEqual([watches.isIncomplete, inotifies()], [true, before]);
    state.isUsedUp = false;
    const watch = watches.watch(directory.path, () => {});
    assert.deepEqual([watch === undefined, watches.isIncomplete], [false, false]);
    watch?.release();
    state.isUsedUp = true;
    assert.equal(watches.watch(directory.path, () => {}), undefined);
    assert.equal(problems.length, 2);
  });

  test(`${what}: sandboxes are found by looking, though nothing is watched`, async () => {
    using directory = temporaryDirectory();
    const { limited } = usedUp(what, errno);
    const { watches, problems } = watchesOf(limited);
    const using = options();
    const guests = new Guests();
    const settings = { directory: directory.path, between: [], name: "vm.sock", port: 7, mode: 0o660 };
    const listener = new TemplateListener(settings, { ...using, watches });
    await listener.listen(guests.accept);
    listener.begin();
    mkdirSync(join(directory.path, "late"));
    const socket = join(directory.path, "late", "vm.sock_7");
    let client: Awaited<ReturnType<typeof dial>> | undefined;
    await until(async () => {
      client = await dial(socket).catch(() => undefined);
      return client !== undefined;
    }, "the sandbox is listened for");
    client?.end("span");
    await guests.until(() => guests.ended === 1);
    assert.equal(bytesOf(guests.seen[0]), "span");
    await listener.stopAccepting();
    assert.deepEqual([problems.length, using.problems], [1, []]);
  });
}

test("a directory that cannot be watched for itself is an error", () => {
  const { watches, problems } = watchesOf(libc);
  assert.throws(() => watches.watch("/nonexistent", () => {}), { code: "ENOENT" });
  assert.deepEqual([problems, watches.isIncomplete], [[], false]);
});
