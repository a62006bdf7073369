import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { decodeResource } from "../decode/support/decode-span.ts";
import { plain, thriftSpan } from "../decode/support/jaeger-decode.ts";
import { encodeThriftBatch } from "../decode/support/thrift-encoder.ts";
import { startChild } from "../support/child.ts";
import { NEEDS_ROOT } from "../support/root.ts";
import { parseThreadStatus } from "../../src/host/thread-status.ts";
import { type Forwarder, startForwarder } from "./support/forwarder.ts";
import { portOf } from "./support/host.ts";
import { Node } from "./support/node.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN } from "./support/process.ts";
import { spansOf, taken } from "./support/spans.ts";
import { test, type TestSettings } from "./support/test.ts";

const SANDBOX = "4f2a9c0177de";
const CAP_SYS_PTRACE = 1n << 19n;

/** A container's root often may not look into the processes of a root that may do more. */
const NEEDS_PTRACE: TestSettings = NEEDS_ROOT.skip !== undefined || maySeeProcesses()
  ? NEEDS_ROOT
  : { skip: "needs CAP_SYS_PTRACE, because it tests who may look into root's processes" };

function maySeeProcesses(): boolean {
  const bounding = /^CapBnd:\s+([0-9a-f]+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return (BigInt(`0x${bounding}`) & CAP_SYS_PTRACE) !== 0n;
}

/** Lets a shim's process, which is root, send a span that does not name its sandbox. */
async function sendAsShim(forwarder: Forwarder, serviceName: string, send: () => Promise<void>): Promise<void> {
  const body = encodeThriftBatch({ serviceName, spans: [thriftSpan()] });
  const shim = startChild(
    new URL("./support/shim.child.ts", import.meta.url),
    String(await portOf(forwarder, "--jaeger-listen")),
    JSON.stringify([Buffer.from(body).toString("base64")]),
    ...["-namespace", "k8s.io", "-id", SANDBOX, "-debug"],
  );
  try {
    await send();
  } finally {
    const ended = once(shim, "close");
    shim.stdin?.end();
    await ended;
  }
}

function permitted(pid: number): bigint {
  return parseThreadStatus(pid, readFileSync(`/proc/${pid}/status`, "utf8")).permitted;
}

const WITHOUT_PTRACE = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];

for (
  const { what, through, service, sandbox } of [
    {
      what: "its sandbox from the shim's command line, though it is another user",
      through: [],
      service: "kata",
      sandbox: SANDBOX,
    },
    {
      what: "nothing of the shim without CAP_SYS_PTRACE, and forwards its spans",
      through: WITHOUT_PTRACE,
      service: "kata",
      sandbox: undefined,
    },
    {
      what: "its sandbox without CAP_SYS_PTRACE too, if its service is that of a shim that runs",
      through: WITHOUT_PTRACE,
      service: `kata-sb-${SANDBOX.slice(0, 8)}`,
      sandbox: SANDBOX,
    },
  ]
) {
  test(`of a runtime that does not name it, the forwarder knows ${what}`, async () => {
    await using stub = await startStub();
    // With {ID}, there is a helper also where this machine is a container.
    using node = new Node();
    await using forwarder = await startForwarder([
      ...["--socket-path", node.template, "--otlp-endpoint", stub.url, "--jaeger-listen", "0"],
    ], { through });
    const [helper] = forwarder.recordsOf(/^a helper process retains/);
    assert.equal((permitted(Number(helper?.["helper"])) & CAP_SYS_PTRACE) !== 0n, through !== WITHOUT_PTRACE);
    assert.equal(permitted(forwarder.pid), 0n);
    await sendAsShim(forwarder, service, () => taken(stub, 1));
    const [span] = spansOf(stub);
    assert.ok(span !== undefined);
    assert.equal(plain(decodeResource(span.resource))["kata.sandbox.id"], sandbox);
    assert.deepEqual(await forwarder.stop(), CLEAN);
  }, NEEDS_PTRACE);
}
