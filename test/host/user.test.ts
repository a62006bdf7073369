import assert from "node:assert/strict";
import { test } from "node:test";
import { loadLibc } from "../../ffi/libc.ts";
import { defaultUser, findUser } from "../../src/host/user.ts";

const USERS = new Map([["nobody", { uid: 65534, gid: 65533 }], ["1001", { uid: 7, gid: 8 }]]);
const host = {
  userByName: (name: string) => USERS.get(name),
  userById: (uid: number) => [...USERS.values()].find((user) => user.uid === uid),
};

test("a user is found by name, with its own group", () => {
  assert.deepEqual(findUser(host, "nobody"), { name: "nobody", uid: 65534, gid: 65533 });
  assert.equal(findUser(host, "somebody"), undefined);
});

test("a user is found by number, but a name made of digits comes first", () => {
  assert.deepEqual(findUser(host, "65534"), { name: "65534", uid: 65534, gid: 65533 });
  assert.deepEqual(findUser(host, "1001"), { name: "1001", uid: 7, gid: 8 });
  assert.equal(findUser(host, "4294967295"), undefined);
  assert.equal(findUser(host, "0x0"), undefined);
  assert.equal(findUser(host, ""), undefined);
});

test("the host's own users are found", async () => {
  const libc = await loadLibc();
  assert.deepEqual(findUser(libc, "root"), { name: "root", uid: 0, gid: 0 });
  assert.deepEqual(findUser(libc, "0"), { name: "0", uid: 0, gid: 0 });
});

test("the default is the forwarder's own user, or a shared one only if that does not exist", () => {
  const own = { uid: 990, gid: 989 };
  const users = new Map([["nobody", { uid: 65534, gid: 65534 }], ["kata-trace-forwarder", own]]);
  const lookUp = { userByName: (name: string) => users.get(name), userById: () => undefined };
  assert.deepEqual(defaultUser(lookUp), { name: "kata-trace-forwarder", isShared: false });
  users.delete("kata-trace-forwarder");
  assert.deepEqual(defaultUser(lookUp), { name: "nobody", isShared: true });
});
