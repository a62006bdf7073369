import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import process from "node:process";
import { asOrdinaryUser } from "./support/as-nobody.ts";
import { startStub } from "./support/pipeline.ts";
import { runToEnd } from "./support/process.ts";
import { Sandbox } from "./support/sandbox.ts";
import { test } from "./support/test.ts";

interface Answer {
  readonly ready: boolean;
  readonly findings: readonly { readonly area: string; readonly item: string; readonly state: string }[];
}

test("check prints a table of this host, and its exit code says whether anything is to be done", async () => {
  await using stub = await startStub();
  const { stdout, stderr, code } = await runToEnd(["check", "--otlp-endpoint", stub.url]);
  assert.equal(stderr, "");
  for (
    const area of ["vsock", "Kata Containers", "Sandboxes", "Rights", "Ports", "Collector", "Disk", "Time", "Limits"]
  ) {
    assert.match(stdout, new RegExp(`^${area}$`, "m"));
  }
  assert.match(stdout, /^ {2}ok +http:\/\/127\.0\.0\.1:\d+\/v1\/traces \(http\/protobuf\) +answers an empty request$/m);
  assert.match(stdout, /^ {2}ok +executable memory +allowed/m);
  const problems = stdout.match(/^ {2}PROBLEM/gm)?.length ?? 0;
  assert.equal(code, problems > 0 ? 3 : 0);
  assert.match(stdout, problems > 0 ? /^Not ready: /m : /^Ready: /m);
  // A host without a vhost module has a problem with it, and says how to load it.
  if (!existsSync("/dev/vhost-vsock")) assert.match(stdout, /PROBLEM +\/dev\/vhost-vsock +missing.*\n +→ modprobe/);
});

test("check --json says the same as an object, and a collector that is away is a problem", async () => {
  const { stdout, code } = await runToEnd(["check", "--json", "--otlp-endpoint", "http://127.0.0.1:1"]);
  const answer = JSON.parse(stdout) as Answer;
  assert.equal(answer.ready, false);
  assert.equal(code, 3);
  assert.equal(answer.findings.find(({ area }) => area === "Collector")?.state, "problem");
});

test("check asks kata-runtime which configuration is used, and reads that", async () => {
  using sandbox = new Sandbox();
  const configuration = sandbox.path("kata.toml");
  writeFileSync(configuration, "[hypervisor.clh]\n[agent.kata]\nenable_tracing = true\n");
  const said = JSON.stringify({ Runtime: { Version: { Semver: "3.99.0" }, Config: { Path: configuration } } });
  writeFileSync(sandbox.path("kata-runtime"), `#!/bin/sh\n[ "$*" = "env --json" ] && echo '${said}'\n`, {
    mode: 0o755,
  });
  const environment = { PATH: `${sandbox.directory}:${process.env["PATH"] ?? ""}` };
  const { stdout } = await runToEnd(["check", "--dump-only"], { env: environment });
  assert.match(stdout, /^ {2}ok +kata-runtime env +.*\/kata-runtime 3\.99\.0$/m);
  assert.ok(stdout.includes(`Go runtime, clh, by kata-runtime env`), stdout);
  assert.match(stdout, /^ {2}ok +\[agent\.kata\] enable_tracing +true/m);
  assert.match(stdout, /^ {2}warning +\[runtime\] enable_tracing +false/m);
});

test("check works as an ordinary user", async () => {
  using sandbox = new Sandbox();
  const { stdout, stderr } = await runToEnd(["check", "--json", "--dump-only"], asOrdinaryUser(sandbox));
  assert.equal(stderr, "");
  const { findings } = JSON.parse(stdout) as Answer;
  assert.equal(findings.find(({ item }) => item === "this user")?.state, "note");
});
