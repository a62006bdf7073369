import assert from "node:assert/strict";
import { chmodSync, chownSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { HybridListener } from "../../../src/receivers/vsock/hybrid-listener.ts";
import { startChild } from "../../support/child.ts";
import { IS_ROOT } from "../../support/root.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { bytesOf, Guests, options } from "./guests.ts";

const CHILD = new URL("./connect-as.child.ts", import.meta.url);
const NEEDED = IS_ROOT && "Bun" in globalThis
  ? {}
  : { skip: "needs root, to connect as other users, and Bun, because Deno does not tell a connection's descriptor" };

const VMM = 4001, OTHER = 4002, KVM = 4003;

/** Connects as somebody else; what that process says. */
async function connectAs(path: string, uid: number, gid: number, group = gid): Promise<string> {
  const child = startChild(CHILD, path, String(uid), String(gid), String(group));
  let output = "";
  child.stdout?.on("data", (text) => output += text);
  await new Promise((resolve) => child.once("close", resolve));
  return output.trim();
}

for (
  const [who, ids, mode, group, isTakenIn] of [
    ["root", [0, 0], 0o600, undefined, true],
    ["the owner of the directory", [VMM, VMM], 0o660, undefined, true],
    ["a member of the socket's group", [OTHER, KVM], 0o660, String(KVM), true],
    ["one that has the socket's group beside its own", [OTHER, OTHER, KVM], 0o660, String(KVM), true],
    ["anyone, if the mode says so", [OTHER, OTHER], 0o666, undefined, true],
    // The kernel lets this one in: it is in the group that the socket's file happens to have.
    ["a member of the process's own group", [OTHER, 0], 0o660, undefined, false],
    ["a member of a group that may not write", [OTHER, KVM], 0o640, String(KVM), false],
  ] as const
) {
  test(`${who} is ${isTakenIn ? "taken in" : "refused"}`, NEEDED, async () => {
    using directory = temporaryDirectory();
    chownSync(directory.path, VMM, VMM);
    chmodSync(directory.path, 0o755);
    const using = options();
    const guests = new Guests();
    const listener = new HybridListener(
      { socketPath: join(directory.path, "vm.sock"), port: 1, mode, ...(group !== undefined && { group }) },
      using,
    );
    await listener.listen(guests.accept);
    // The kernel would keep some of them out by itself.
    chmodSync(listener.address, mode | 0o022);
    const [uid, gid, extra] = ids as readonly [number, number, number?];
    assert.equal(await connectAs(listener.address, uid, gid, extra), "connected");
    if (isTakenIn) {
      await guests.until(() => guests.ended === 1);
      assert.equal(bytesOf(guests.seen[0]), "span");
      assert.deepEqual(using.problems, []);
    } else {
      while (using.problems.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      assert.equal(using.problems[0], "connection to a sandbox's socket refused");
      assert.match(String(using.problems[1]), /process \d+ of the user 4002 is neither root's, nor .*--socket-group/);
      assert.equal(guests.seen.length, 0);
    }
    await listener.stopAccepting();
    assert.equal(using.budget.used, 0);
  });
}
