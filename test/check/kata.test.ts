import assert from "node:assert/strict";
import { test } from "node:test";
import { checkKata } from "../../src/check/kata.ts";
import { readConfiguration } from "../../src/check/kata-configuration.ts";
import { parseKataEnvironment } from "../../src/check/kata-runtime.ts";
import { FakeHost } from "./fake-host.ts";

const OPT = "/opt/kata/share/defaults/kata-containers";
const ETC = "/etc/kata-containers/configuration.toml";
const GO = `[hypervisor.qemu]
path = "/opt/kata/bin/qemu-system-x86_64"
[agent.kata]
#enable_tracing = true
[runtime]
#enable_tracing = true
jaeger_endpoint = ""
`;
const NO_RECEIVER = { port: undefined };

/** `state item: found`, one line each. */
function lines(findings: ReturnType<typeof checkKata>["findings"]): string[] {
  return findings.map(({ state, item, found }) => `${state} ${item.trim()}: ${found}`);
}

test("both switches off: the agent's is a problem, the runtime's a warning", () => {
  using host = new FakeHost({ [ETC]: GO });
  const { findings, hypervisors } = checkKata(host.files, undefined, NO_RECEIVER);
  assert.deepEqual(lines(findings), [
    `ok ${ETC}: Go runtime, qemu, by a default place`,
    "problem [agent.kata] enable_tracing: false: agents do not trace",
    "warning [runtime] enable_tracing: false: each of the agent's RPCs is a trace of its own",
  ]);
  assert.equal(findings[1]?.advice, "set it to true in /etc/kata-containers/config.d/50-tracing.toml");
  assert.deepEqual([...hypervisors], ["qemu"]);
});

test("drop-ins override the file, the last one in the alphabet wins", () => {
  using host = new FakeHost({
    [ETC]: GO,
    "/etc/kata-containers/config.d/10-off.toml": "[agent.kata]\nenable_tracing = false\n",
    "/etc/kata-containers/config.d/50-tracing.toml":
      "[agent.kata]\nenable_tracing = true\n[runtime]\nenable_tracing = true\n",
  });
  const { findings } = checkKata(host.files, undefined, { port: 14268 });
  assert.deepEqual(lines(findings), [
    `ok ${ETC}: Go runtime, qemu, by a default place, 2 drop-ins`,
    "ok [agent.kata] enable_tracing: true: new sandboxes' agents trace",
    "ok [runtime] enable_tracing: true: the runtime traces",
    "ok [runtime] jaeger_endpoint: http://localhost:14268/api/traces (the default): leads to this forwarder",
  ]);
});

test("a link's drop-ins are those beside the file that it leads to", () => {
  using host = new FakeHost({
    [`${OPT}/configuration-clh.toml`]: "[hypervisor.clh]\n[agent.kata]\nenable_tracing = false\n",
    [`${OPT}/config.d/1.toml`]: "[agent.kata]\nenable_tracing = true\n",
  });
  host.link(`../..${OPT}/configuration-clh.toml`, ETC);
  const configuration = readConfiguration(host.files, ETC);
  assert.ok(!("problem" in configuration));
  assert.equal(configuration.path, `${OPT}/configuration-clh.toml`);
  assert.deepEqual(configuration.fragments, [`${OPT}/config.d/1.toml`]);
  assert.equal(configuration.tracesAgent, true);
  assert.equal(configuration.hypervisor, "clh");
});

test("files are found where containerd, CRI-O and kata-deploy name them, and each is read once", () => {
  const rust = `${OPT}/runtime-rs/runtimes/qemu-runtime-rs/configuration-qemu-runtime-rs.toml`;
  const go = `${OPT}/runtimes/qemu/configuration-qemu.toml`;
  using host = new FakeHost({
    [rust]: '[hypervisor.qemu]\n[runtime]\nhypervisor_name = "qemu"\nname="virt_container"\n',
    [go]: GO,
    [`${OPT}/configuration-fc.toml`]: "[hypervisor.firecracker]\n",
    "/opt/kata/containerd/config.d/kata-deploy.toml":
      `[plugins.x.options]\nConfigPath = "${rust}"\n[y]\n  ConfigPath = "${go}"\n`,
    "/etc/crio/crio.conf.d/99-kata-deploy": `[crio]\nruntime_config_path = "${go}"\n`,
  });
  const found = lines(checkKata(host.files, undefined, NO_RECEIVER).findings);
  assert.deepEqual(found.filter((line) => line.startsWith("ok /")), [
    `ok ${go}: Go runtime, qemu, by /etc/crio/crio.conf.d/99-kata-deploy`,
    `ok ${rust}: Rust runtime, qemu, by /opt/kata/containerd/config.d/kata-deploy.toml`,
  ]);
  assert.equal(found.at(-1), `note other configurations: 1 that nothing names, such as ${OPT}/configuration-fc.toml`);
});

test("a file that nothing names is read if there are few of them", () => {
  using host = new FakeHost({ [`${OPT}/configuration-fc.toml`]: "[hypervisor.firecracker]\n" });
  const { findings, hypervisors } = checkKata(host.files, undefined, NO_RECEIVER);
  assert.equal(lines(findings)[0], `ok ${OPT}/configuration-fc.toml: Go runtime, firecracker, by nobody that was seen`);
  assert.deepEqual([...hypervisors], ["firecracker"]);
});

test("without Kata the check says so", () => {
  using host = new FakeHost();
  const { findings } = checkKata(host.files, undefined, NO_RECEIVER);
  assert.equal(findings.length, 1);
  assert.equal(findings[0]?.state, "problem");
  assert.match(findings[0]?.found ?? "", /^not found/);
});

test("a broken file, a broken drop-in and a named file that is missing are problems of their own", () => {
  using host = new FakeHost({ [ETC]: "[runtime\n" });
  assert.match(lines(checkKata(host.files, undefined, NO_RECEIVER).findings)[0] ?? "", /^problem .*it is not TOML/);
  host.write(ETC, GO);
  host.write("/etc/kata-containers/config.d/x.toml", "\u0000");
  const [broken] = checkKata(host.files, undefined, NO_RECEIVER).findings;
  assert.equal(broken?.item, "/etc/kata-containers/config.d/x.toml");
  const [missing] = checkKata(host.files, undefined, NO_RECEIVER, "/nowhere.toml").findings;
  assert.deepEqual([missing?.item, missing?.found], [
    "/nowhere.toml",
    "there is no such file (named by KATA_CONF_FILE)",
  ]);
});

test("values of the wrong type count as not set, and hostile keys change nothing", () => {
  using host = new FakeHost({
    [ETC]: `runtime = 3\n[hypervisor]\nqemu = 1\n[agent.kata]\nenable_tracing = "true"\n["__proto__"]\nx = 1\n`,
  });
  const configuration = readConfiguration(host.files, ETC);
  assert.ok(!("problem" in configuration));
  assert.equal(configuration.tracesAgent, false);
  assert.equal(configuration.tracesRuntime, false);
  assert.equal(configuration.hypervisor, "qemu");
  assert.equal(({} as { x?: number }).x, undefined);
});

for (
  const [endpoint, port, expected] of [
    ["http://collector.example:14268/api/traces", 14268, "warning http://collector.example:14268/api/traces: another"],
    [
      "http://127.0.0.1:14268/api/traces",
      undefined,
      "warning http://127.0.0.1:14268/api/traces: not to this forwarder",
    ],
    ["http://[::1]:9000/", 14268, "warning http://[::1]:9000/, but --jaeger-listen is 14268"],
    ["http://[::1]:9000/", 9000, "ok http://[::1]:9000/: leads to this forwarder"],
    ["not a url", 14268, "problem not a url is not a URL"],
  ] as const
) {
  test(`jaeger_endpoint ${endpoint} with the port ${port}`, () => {
    using host = new FakeHost({
      [ETC]: `[runtime]\nenable_tracing = true\njaeger_endpoint = "${endpoint}"\n`,
    });
    const { findings } = checkKata(host.files, undefined, { port });
    const finding = findings.find(({ item }) => item.endsWith("jaeger_endpoint"));
    assert.ok(`${finding?.state} ${finding?.found}`.startsWith(expected), `${finding?.state} ${finding?.found}`);
  });
}

test("kata-runtime env names the configuration that it uses", () => {
  const output = JSON.stringify({
    Runtime: { Version: { Semver: "3.32.0" }, Config: { Path: "/srv/kata.toml" } },
    Hypervisor: { Path: "/opt/kata/bin/qemu-system-x86_64" },
  });
  const environment = parseKataEnvironment("/opt/kata/bin/kata-runtime", output);
  assert.deepEqual(environment, {
    kind: "seen",
    configurationPath: "/srv/kata.toml",
    summary: "/opt/kata/bin/kata-runtime 3.32.0, /opt/kata/bin/qemu-system-x86_64",
  });
  using host = new FakeHost({ "/srv/kata.toml": GO });
  const found = lines(checkKata(host.files, environment, NO_RECEIVER).findings);
  assert.equal(found[1], "ok /srv/kata.toml: Go runtime, qemu, by kata-runtime env");
});

test("a kata-runtime that says nothing sensible costs only its own row", () => {
  for (const output of ["", "[]", "null", '{"Runtime":[]}', "{", '{"Runtime":{"Config":{"Path":7}}}']) {
    const environment = parseKataEnvironment("kata-runtime", output);
    if (environment.kind === "seen") assert.equal(environment.configurationPath, undefined);
    else assert.match(environment.reason, /something other than JSON/);
  }
});
