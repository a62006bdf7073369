import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { LibcError } from "../../../ffi/errors.ts";
import { createListener } from "../../../src/receivers/vsock/create-listener.ts";
import { ListenError } from "../../../src/receivers/vsock/listener.ts";
import { VsockListener, vsockListenError } from "../../../src/receivers/vsock/vsock-listener.ts";
import { Guests, options } from "./guests.ts";

/** A port that is nobody's: each run takes another, away from the forwarder's own. */
const PORT = 20_000 + Math.floor(Math.random() * 1_000_000);

/** What listening says; "listens" where it does. */
async function outcome(listener: VsockListener): Promise<string> {
  try {
    await listener.listen(new Guests().accept);
    return "listens";
  } catch (error) {
    assert(error instanceof ListenError, `${error}`);
    assert(error.cause instanceof Error);
    return error.message;
  }
}

test("the address names the CID and port that are bound", () => {
  assert.equal(
    new VsockListener({ cid: "any", port: 10240 }, options()).address,
    "vsock:any:10240",
  );
  const listener = createListener([{ kind: "vsock", cid: 3, port: 1 }], options());
  assert.equal(listener.address, "vsock:3:1");
});

test("it listens, tells another that it does, and lets go; or says what the kernel lacks", async () => {
  const using = options();
  const first = new VsockListener({ cid: "any", port: PORT }, using);
  const second = new VsockListener({ cid: "any", port: PORT }, options());
  const said = await outcome(first);
  if (said !== "listens") {
    assert.match(said, /this kernel has no AF_VSOCK .* `modprobe vhost_vsock`$/);
    return;
  }
  assert.equal(using.budget.used, 1);
  assert.equal(
    await outcome(second),
    `cannot listen at vsock:any:${PORT}: another process listens there, perhaps another forwarder: ` +
      "stop it or use another --vsock-port",
  );
  await first.stopAccepting();
  first.cleanUp();
  assert.equal(using.budget.used, 0);
  assert.equal(await outcome(second), "listens");
  await second.stopAccepting();
});

test("a CID that is not this machine's is said to be none", async () => {
  // 1 is VMADDR_CID_LOCAL: there where vsock_loopback is, which the message also fits.
  const listener = new VsockListener({ cid: 0x7fff_fff1, port: PORT }, options());
  assert.match(
    await outcome(listener),
    /: this (machine has no CID 2147483633: use --vsock-cid any, or load|kernel has no AF_VSOCK)/,
  );
});

test("each failure says what to do about it", () => {
  const at = { cid: 2, port: 99 };
  const said = (call: string, errno: number) => {
    const cause = new LibcError(call, errno);
    const error = vsockListenError(at, cause);
    assert.equal(error.cause, cause);
    assert.equal(error.absent, errno === 97 || errno === 99);
    return error.message;
  };
  // errno(3): EACCES 13, EADDRINUSE 98, EADDRNOTAVAIL 99, EAFNOSUPPORT 97, ENOMEM 12, EPERM 1
  assert.equal(
    said("socket", 97),
    "cannot listen at vsock:2:99: this kernel has no AF_VSOCK (is there a /dev/vsock?): load the host's module with " +
      "`modprobe vhost_vsock`; a systemd unit must also allow it (RestrictAddressFamilies=)",
  );
  assert.match(
    said("bind", 99),
    /^cannot listen at vsock:2:99: this machine has no CID 2: .*`modprobe vhost_vsock`$/,
  );
  assert.match(said("socket", 1), /: a seccomp profile around this process forbids AF_VSOCK: /);
  assert.match(said("bind", 98), /another process listens there/);
  assert.match(said("bind", 13), /port 99 is for root \(CAP_NET_BIND_SERVICE\)/);
  assert.equal(said("bind", 12), "cannot listen at vsock:2:99: bind: ENOMEM");
});

test("a host without the module for VMMs is warned about, with the command that loads it", async () => {
  using directory = temporaryDirectory();
  const [device, registered] = [join(directory.path, "vhost-vsock"), join(directory.path, "misc")];
  const problems = async (): Promise<readonly (string | Error)[]> => {
    const using = options();
    const listener = new VsockListener({ cid: "any", port: PORT }, { ...using, host: { device, registered } });
    if (await outcome(listener) === "listens") await listener.stopAccepting();
    else return ["not to be tried here"];
    return using.problems;
  };
  if ((await problems())[0] === "not to be tried here") return;
  // Nothing is known.
  assert.deepEqual(await problems(), []);
  writeFileSync(registered, "122 vsock\n236 device-mapper\n");
  const [warning] = await problems();
  assert.match(String(warning), /vhost_vsock is not loaded, .*: modprobe vhost_vsock$/);
  writeFileSync(registered, "241 vhost-vsock\n236 device-mapper\n");
  assert.deepEqual(await problems(), []);
  writeFileSync(registered, "");
  writeFileSync(device, "");
  assert.deepEqual(await problems(), []);
});
