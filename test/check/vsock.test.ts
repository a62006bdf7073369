import assert from "node:assert/strict";
import { test } from "node:test";
import { LibcError } from "../../ffi/errors.ts";
import { checkVsock } from "../../src/check/vsock.ts";
import { constants } from "node:os";
import { FakeHost } from "./fake-host.ts";

const free = (): void => {};
const failing = (name: keyof typeof constants.errno) => (): void => {
  throw new LibcError("bind", constants.errno[name]);
};
const NOBODY_KNOWS: ReadonlySet<string> = new Set();

function stateOf(findings: ReturnType<typeof checkVsock>, item: string): string {
  const finding = findings.find((each) => each.item === item);
  assert.ok(finding, `${item} is looked at`);
  return `${finding.state}: ${finding.found}`;
}

test("a missing /dev/vhost-vsock is a problem, and the advice loads the module", () => {
  using host = new FakeHost({
    "/proc/sys/kernel/osrelease": "6.1.0-1\n",
    "/lib/modules/6.1.0-1/modules.dep": "kernel/drivers/vhost/vhost_vsock.ko: kernel/net/vsock.ko\n",
  });
  const findings = checkVsock(host.files, 10240, free, NOBODY_KNOWS);
  assert.equal(stateOf(findings, "/dev/vhost-vsock"), "problem: missing: the module vhost_vsock is not loaded");
  assert.match(findings.find(({ item }) => item === "/dev/vhost-vsock")?.advice ?? "", /^modprobe vhost_vsock/);
  assert.equal(stateOf(findings, "vsock port 10240"), "ok: free");
  assert.match(stateOf(findings, "/dev/kvm"), /^warning: missing/);
});

test("a kernel without the module is told from one that has not loaded it", () => {
  using host = new FakeHost({
    "/proc/sys/kernel/osrelease": "6.1.0-1\n",
    "/lib/modules/6.1.0-1/modules.dep": "kernel/net/ipv4/tcp.ko:\n",
  });
  const findings = checkVsock(host.files, 10240, free, NOBODY_KNOWS);
  assert.match(stateOf(findings, "/dev/vhost-vsock"), /this kernel \(6\.1\.0-1\) has no module vhost_vsock/);
});

test("without AF_VSOCK nothing is a problem if Kata's hypervisors do without it", () => {
  using host = new FakeHost();
  const findings = checkVsock(host.files, 10240, failing("EAFNOSUPPORT"), new Set(["clh", "firecracker"]));
  assert.deepEqual(findings.filter(({ state }) => state === "problem"), []);
  assert.match(stateOf(findings, "vsock port 10240"), /clh, firecracker, which does without AF_VSOCK/);
  const withQemu = checkVsock(host.files, 10240, failing("EAFNOSUPPORT"), new Set(["clh", "qemu"]));
  assert.match(stateOf(withQemu, "vsock port 10240"), /^problem: this kernel has no AF_VSOCK/);
});

test("each error of the socket says something else", () => {
  using host = new FakeHost();
  const said = (name: keyof typeof constants.errno, port = 10240) =>
    stateOf(checkVsock(host.files, port, failing(name), NOBODY_KNOWS), `vsock port ${port}`);
  assert.match(said("EADDRINUSE"), /^note: taken/);
  assert.match(said("EPERM"), /^problem: a seccomp profile/);
  assert.match(said("EACCES", 80), /^unknown: a port below 1024/);
  assert.match(said("EIO"), /^unknown: bind: EIO/);
});

test("a network namespace with a vsock of its own is a problem", () => {
  using host = new FakeHost({ "/proc/sys/net/vsock/ns_mode": "local\n" });
  const findings = checkVsock(host.files, 10240, free, NOBODY_KNOWS);
  assert.match(stateOf(findings, "/proc/sys/net/vsock/ns_mode"), /^problem: local/);
});
