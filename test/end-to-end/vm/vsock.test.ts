import assert from "node:assert/strict";
import { after, test } from "node:test";
import { parseSpans } from "../../collector/spans.ts";
import { sentSpans, SESSION_SPANS } from "../support/agent.ts";
import { assertReceived } from "../support/compare.ts";
import { dumpedSpans } from "../support/dump.ts";
import { MACHINE_PATIENCE, type Results, runMachine } from "../support/machine.ts";
import { program, Workshop } from "../support/programs.ts";

const workshop = new Workshop();
after(() => workshop.close());

/** The machine's own CID of its loopback, VMADDR_CID_LOCAL (vsock(7)): agents in it come from there. */
const HOST = { "service.name": "kata-agent", "kata.vsock.cid": 1n, "kata.component": "agent" };

/** `nobody` and `nogroup` of the machine's /etc/passwd and /etc/group. */
const NOBODY = 65534;
/** A set of capabilities as /proc/PID/status has it. */
const NO_CAPABILITY = "0".repeat(16);

/** What each agent of a script has sent. */
function sentOf(results: Results, folder: string, sessions: Readonly<Record<string, number>>) {
  const files = results.folder(folder);
  const sent = [...files].map(([name, lines]) => [name, sentSpans(lines)] as const);
  assert.deepEqual(
    Object.fromEntries(sent.map(([name, spans]) => [name, spans.length])),
    Object.fromEntries(
      Object.entries(sessions).map(([name, count]) => [`${name}.jsonl`, count * SESSION_SPANS]),
    ),
  );
  return sent.flatMap(([, spans]) => spans);
}

test(
  "agents over AF_VSOCK: each span is dumped, by a process without privileges",
  MACHINE_PATIENCE,
  async () => {
    const results = await runMachine("forward.sh", await workshop.folder(), [
      ...["--forwarder", program("KTF_EXECUTABLE"), "--agent", program("KTF_AGENT")],
    ]);
    const sent = sentOf(results, "expected", {
      "bincode-isolated": 1,
      "json-isolated": 1,
      "bincode-collated": 1,
      "json-collated": 1,
      "bincode-paced": 2,
      "json-paced": 2,
      "bincode-dynamic": 2,
      "json-dynamic": 2,
    });
    assertReceived(dumpedSpans(results.text("dump.jsonl")), sent, HOST);

    const threads = [...results.folder("status").values()];
    assert.ok(threads.length > 1, "a process of Bun has more threads than one");
    const ids = Array(4).fill(NOBODY).join("\t");
    for (const status of threads) {
      const fields = new Map(
        status.split("\n").map((line): [string, string] => {
          const [name = "", value = ""] = line.split(/:\s*/, 2);
          return [name, value.trim()];
        }),
      );
      const shown = ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs"];
      assert.deepEqual(
        Object.fromEntries(shown.map((name) => [name, fields.get(name)])),
        {
          ...{ Uid: ids, Gid: ids, Groups: "", NoNewPrivs: "1" },
          ...{ CapInh: NO_CAPABILITY, CapPrm: NO_CAPABILITY },
          ...{ CapEff: NO_CAPABILITY, CapAmb: NO_CAPABILITY },
        },
      );
      // SECCOMP_MODE_FILTER
      assert.equal(fields.get("Seccomp"), "2");
    }
    assert.equal(results.text("cwd"), "/\n");
    assert.equal(results.text("exit-code"), "0\n");
  },
);

test(
  "agents over AF_VSOCK: each span arrives in a collector, over gRPC and HTTP",
  MACHINE_PATIENCE,
  async () => {
    const results = await runMachine("collect.sh", await workshop.folder(), [
      ...["--forwarder", program("KTF_EXECUTABLE"), "--agent", program("KTF_AGENT")],
      ...["--file", `${program("KTF_OTELCOL")}:/bin/otelcol`],
    ]);
    for (const transport of ["grpc", "http"]) {
      const sent = sentOf(results, `${transport}/expected`, {
        bincode: 2,
        json: 2,
        "bincode-dynamic": 1,
        "json-dynamic": 1,
      });
      const requests = results.text(`${transport}/spans.jsonl`).trim().split("\n");
      assertReceived(requests.flatMap(parseSpans), sent, HOST);
      assert.equal(results.text(`${transport}/exit-code`), "0\n");
    }
  },
);

test(
  "without AF_VSOCK in the kernel the start fails, and names what to load",
  MACHINE_PATIENCE,
  async () => {
    const results = await runMachine("no-vsock.sh", await workshop.folder(), [
      ...["--forwarder", program("KTF_EXECUTABLE"), "--modules", "none"],
    ]);
    assert.equal(results.text("exit-code"), "1\n");
    const said = results.text("stderr").trim().split("\n").at(-1) ?? "";
    assert.match(
      said,
      /^kata-trace-forwarder: .*this kernel has no AF_VSOCK.*modprobe vhost_vsock/,
    );
    assert.equal(results.text("stdout"), "");
  },
);
