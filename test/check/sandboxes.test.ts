import assert from "node:assert/strict";
import { test } from "node:test";
import { listProcesses } from "../../src/check/processes.ts";
import { checkSandboxes } from "../../src/check/sandboxes.ts";
import { FakeHost } from "./fake-host.ts";

const SHIM = "/opt/kata/bin/containerd-shim-kata-v2";
const QEMU = "/opt/kata/bin/qemu-system-x86_64";

function rows(host: FakeHost): string[] {
  return checkSandboxes(host.files, listProcesses(host.files))
    .map(({ state, item, found }) => `${state} ${item}: ${found}`);
}

test("a sandbox traces if its guest kernel's parameters say so", () => {
  using host = new FakeHost();
  host.process(10, [SHIM, "-namespace", "k8s.io", "-id", "aaa"]);
  host.process(11, [QEMU, "-name", "sandbox-aaa,debug-threads=on", "-append", "console=hvc0 agent.trace=true quiet"]);
  host.process(20, [SHIM, "-namespace", "k8s.io", "-id", "bbb"]);
  host.process(21, [QEMU, "-name", "sandbox-bbb", "-append", "agent.log=debug agent.trace=false"]);
  host.process(30, [SHIM, "-id", "ccc"]);
  host.process(31, ["/opt/kata/bin/cloud-hypervisor", "--api-socket", "/run/vc/vm/ccc/clh-api.sock"]);
  host.process(40, [SHIM, "-id", "ddd"]);
  host.process(50, [QEMU, "-name", "guest=mine", "-append", "agent.trace"]);
  assert.deepEqual(rows(host), [
    "note sandboxes: 4 run now",
    "ok aaa: qemu-system-x86_64, and its agent traces (agent.trace)",
    "warning bbb: qemu-system-x86_64, and its agent does not trace (no agent.trace)",
    "unknown ccc: cloud-hypervisor, whose command line does not show the guest kernel's parameters",
    "unknown ddd: its VMM is not seen: it runs within the shim (Dragonball), or as another user",
  ]);
});

test("the modes of old releases count as tracing, and similar words do not", () => {
  for (
    const [parameters, traces] of [
      ["agent.trace", true],
      ["a agent.trace=static b", true],
      ["agent.trace=0", false],
      ["agent.tracer=true", false],
      ["my.agent.trace=true", false],
    ] as const
  ) {
    using host = new FakeHost();
    host.process(10, [SHIM, "-id", "aaa"]);
    host.process(11, [QEMU, "-name", "sandbox-aaa", "-append", parameters]);
    assert.equal(rows(host)[1]?.startsWith(traces ? "ok" : "warning"), true, parameters);
  }
});

test("without sandboxes, and with hidden processes, the check says so", () => {
  using host = new FakeHost({ "/proc/self/mounts": "proc /proc proc rw,nosuid,hidepid=invisible 0 0\n" });
  assert.deepEqual(rows(host), [
    "unknown /proc: mounted with hidepid: other users' processes are hidden",
    "note sandboxes: none runs now",
  ]);
});

test("a VMM without a shim is left over", () => {
  using host = new FakeHost();
  host.process(11, [QEMU, "-name", "sandbox-aaa", "-append", "agent.trace"]);
  assert.match(rows(host)[1] ?? "", /^warning aaa: .*no shim/);
});

test("a thousand sandboxes are counted, and twenty are listed", () => {
  using host = new FakeHost();
  for (let id = 0; id < 1000; id++) host.process(1000 + id, [SHIM, "-id", `s${String(id).padStart(4, "0")}`]);
  const found = rows(host);
  assert.equal(found.length, 22);
  assert.equal(found[0], "note sandboxes: 1000 run now");
  assert.equal(found.at(-1), "note …: 980 more are not shown");
});
