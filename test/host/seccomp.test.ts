import assert from "node:assert/strict";
import { constants } from "node:os";
import { test } from "node:test";
import { SECCOMP_ARCHITECTURES, type SeccompArchitecture, seccompProgram, sockFprog } from "../../src/host/seccomp.ts";

const ALLOW = 0x7fff_0000;
const DENY = 0x0005_0000 | constants.errno.EPERM;
const UNKNOWN = 0x0005_0000 | constants.errno.ENOSYS;
const AF_UNIX = 1;
const CLONE_NEWUSER = 0x1000_0000;
/**
 * What pthread_create asks of clone(2): CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | SETTLS | PARENT_SETTID |
 * CHILD_CLEARTID
 */
const CLONE_THREAD = 0x003d_0f00;

/** What the kernel would answer: an interpreter for as much of classic BPF as the filter uses. */
function answer(program: Uint8Array, audit: number, call: number, argument = 0): number {
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, call, true);
  data.setUint32(4, audit, true);
  data.setUint32(16, argument, true);
  let accumulator = 0;
  for (let at = 0; at < view.byteLength;) {
    const code = view.getUint16(at, true);
    const operand = view.getUint32(at + 4, true);
    const jump = (holds: boolean) => at += 8 * view.getUint8(at + (holds ? 2 : 3));
    if (code === 0x06) return operand;
    if (code === 0x20) accumulator = data.getUint32(operand, true);
    else if (code === 0x15) jump(accumulator === operand);
    else if (code === 0x35) jump(accumulator >= operand);
    else if (code === 0x45) jump((accumulator & operand) !== 0);
    else assert.fail(`instruction 0x${code.toString(16)}`);
    at += 8;
  }
  return assert.fail("the program has no end");
}

for (const [name, architecture] of Object.entries(SECCOMP_ARCHITECTURES)) {
  const { audit, denied, clone, clone3, socket } = architecture;
  const program = seccompProgram(architecture);

  test(`${name}: only the denied calls are denied`, () => {
    const calls = new Set(Object.values(denied));
    assert.equal(calls.size, Object.keys(denied).length);
    // 600 is beyond the newest system call (462 in Linux 6.10).
    for (let call = 0; call < 600; call++) {
      const expected = calls.has(call) ? DENY : call === clone3 ? UNKNOWN : ALLOW;
      assert.equal(answer(program, audit, call, call === socket ? AF_UNIX : 0), expected, `call ${call}`);
    }
  });

  test(`${name}: sockets are of five families`, () => {
    const allowed = Array.from({ length: 64 }, (_, family) => family)
      .filter((family) => answer(program, audit, socket, family) === ALLOW);
    // AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_VSOCK
    assert.deepEqual(allowed, [1, 2, 10, 16, 40]);
    assert.equal(answer(program, audit, socket, 17), DENY);
  });

  test(`${name}: threads may be made, but user namespaces may not`, () => {
    assert.equal(answer(program, audit, clone, CLONE_THREAD), ALLOW);
    assert.equal(answer(program, audit, clone, CLONE_NEWUSER), DENY);
    assert.equal(answer(program, audit, clone, CLONE_THREAD | CLONE_NEWUSER), DENY);
    assert.equal(answer(program, audit, clone3), UNKNOWN);
  });

  test(`${name}: all calls of another architecture are denied`, () => {
    for (const call of [0, 1, 59, 221]) assert.equal(answer(program, 0x4000_0003, call), DENY);
  });

  test(`${name}: the calls have both architectures' names`, () => {
    const names = (of: SeccompArchitecture | undefined) => Object.keys(of?.denied ?? {}).sort();
    assert.deepEqual(names(architecture), names(SECCOMP_ARCHITECTURES["x64"]));
    assert(names(architecture).includes("execve"));
  });
}

test("calls of the x32 ABI are denied", () => {
  const x64 = SECCOMP_ARCHITECTURES["x64"] as SeccompArchitecture;
  const program = seccompProgram(x64);
  assert.equal(answer(program, x64.audit, 0x4000_0000), DENY);
  assert.equal(answer(program, x64.audit, 0x4000_0208), DENY);
  assert.equal(answer(program, x64.audit, 0xffff_ffff), DENY);
});

test("the program is passed on as struct sock_fprog", () => {
  const program = new Uint8Array(3 * 8);
  assert.deepEqual(
    [...sockFprog(program, 0x0102_0304_0506_0708n)],
    [3, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1],
  );
});
