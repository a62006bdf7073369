import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { KATA_SOCKET_PATHS, socketPath } from "../../src/options/socket-path.ts";
import { UsageError } from "../../src/options/values.ts";

test("a path without {ID} is that of one socket, made absolute", () => {
  assert.deepEqual(socketPath("/run/vc/vm/foo/clh.sock"), {
    kind: "path",
    path: "/run/vc/vm/foo/clh.sock",
  });
  assert.deepEqual(socketPath("vm/clh.sock"), {
    kind: "path",
    path: `${process.cwd()}/vm/clh.sock`,
  });
  assert.deepEqual(socketPath("/run/{id}/clh.sock"), { kind: "path", path: "/run/{id}/clh.sock" });
});

test("{ID} stands for one directory above the socket", () => {
  const template = (directory: string, between: readonly string[], name: string) => ({
    kind: "template",
    directory,
    between,
    name,
  });
  assert.deepEqual(
    socketPath("/run/vc/vm/{ID}/clh.sock"),
    template("/run/vc/vm", [], "clh.sock"),
  );
  assert.deepEqual(
    socketPath("/run/vc//firecracker/./{ID}/root/kata.hvsock"),
    template("/run/vc/firecracker", ["root"], "kata.hvsock"),
  );
  assert.deepEqual(socketPath("/{ID}/a/b/c"), template("/", ["a", "b"], "c"));
  assert.deepEqual(socketPath("{ID}/vm.sock"), template(process.cwd(), [], "vm.sock"));
});

test("{ID} anywhere else is refused", () => {
  for (
    const path of [
      "/run/vc/vm/{ID}",
      "/run/vm-{ID}/clh.sock",
      "/run/{ID}x/clh.sock",
      "/run/{ID}/{ID}/clh.sock",
      "/run/{ID}/clh-{ID}.sock",
    ]
  ) {
    assert.throws(() => socketPath(path), (error) => {
      assert(error instanceof UsageError);
      assert.equal(
        error.message,
        `"${path}": {ID} must stand for one whole directory above the socket, as in /run/vc/vm/{ID}/clh.sock`,
      );
      return true;
    });
  }
  assert.throws(() => socketPath(""), /^UsageError: may not be empty/);
});

test("Kata's own paths are templates, each of them once", () => {
  assert.equal(new Set(KATA_SOCKET_PATHS).size, KATA_SOCKET_PATHS.length);
  for (const path of KATA_SOCKET_PATHS) assert.equal(socketPath(path).kind, "template");
});

test("{UID} stands for the user of a rootless VMM, above {ID}", () => {
  assert.deepEqual(socketPath("/run/user/{UID}/run/vc/vm/{ID}/clh.sock"), {
    kind: "template",
    directory: "/run/user/{UID}/run/vc/vm",
    perUser: true,
    between: [],
    name: "clh.sock",
  });
  for (const path of ["/r/{UID}/c.sock", "/{UID}/{ID}/c.sock", "/r/{ID}/{UID}/c.sock", "/r/u{UID}/{ID}/c.sock"]) {
    assert.throws(() => socketPath(path), /must stand for one whole directory above/, path);
  }
  assert.throws(() => socketPath("/r/{UID}/{UID}/{ID}/c.sock"), /must stand for one whole directory above/);
});
