import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseCommandLine } from "../../src/options/cli.ts";
import { environmentNames } from "../../src/options/option.ts";
import { OPTIONS } from "../../src/options/table.ts";
import { VERSION } from "../../src/base/version.ts";
import { Metrics } from "../../src/pipeline/metrics.ts";
import { forwarderFamilies } from "../../src/telemetry/metrics-families.ts";

const FOLDER = fileURLToPath(new URL("../../deploy/kubernetes", import.meta.url));

/** All manifests, one after the other. */
const MANIFESTS = readdirSync(FOLDER, { recursive: true, encoding: "utf8" })
  .filter((name) => /\.(yaml|env)$/.test(name))
  .map((name) => readFileSync(join(FOLDER, name), "utf8"))
  .join("\n");

/** The one value that a pattern finds in the manifests, however often. */
function only(pattern: RegExp): string {
  const found = [...new Set([...MANIFESTS.matchAll(pattern)].map(([, value]) => value))];
  assert.equal(found.length, 1, `${pattern}: ${found}`);
  return found[0] as string;
}

test("every option that the manifests set is one, with a value that it takes", () => {
  const settings = new Map<string, string>();
  for (
    const pattern of [
      /^ *- ((?:KATA_TRACE_FORWARDER|OTEL)_[A-Z_]+)=(.*)$/gm,
      /- name: ((?:KATA_TRACE_FORWARDER|OTEL)_[A-Z_]+)\n +value: "?([^"\n]*)"?$/gm,
    ]
  ) {
    for (const [, name, value] of MANIFESTS.matchAll(pattern)) {
      // How the executable is told to do something of its own, which is not an option.
      if (!name?.includes("_INTERNAL_")) settings.set(name as string, value as string);
    }
  }
  const known = Object.values(OPTIONS).flatMap((option) => [...environmentNames(option)]);
  const exporters = ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_COMPRESSION"];
  assert.deepEqual(
    [...settings.keys()].filter((name) => ![...known, ...exporters].includes(name)),
    [],
  );
  assert.ok(settings.size >= 5, `${[...settings.keys()]}`);

  const environment = Object.fromEntries(
    [...settings].map(([name, value]) => [
      name,
      value.replace("$(POD_IP)", "10.0.0.7").replace("$(NODE_NAME)", "node"),
    ]),
  );
  const command = parseCommandLine([], environment);
  assert(command.kind === "run");
  assert.deepEqual(command.settings.metrics, { host: "10.0.0.7", port: 9464 });
  assert.equal(command.settings.queue.spool?.directory, "/var/lib/kata-trace-forwarder/spool");
  assert.equal(command.settings.resourceAttributes.get("k8s.node.name"), "node");
});

test("the container gets what it takes to run", () => {
  assert.equal(only(/newName: kata-trace-forwarder\n +newTag: (\S+)/g), VERSION);
  assert.equal(only(/containerPort: (9464)/g), "9464");
  // The pod is given longer than the drain takes by default.
  const grace = Number(only(/terminationGracePeriodSeconds: (\d+)/g));
  const { settings } = parseCommandLine([], {}) as { settings: { shutdownTimeoutMs: number } };
  assert.ok(grace * 1000 >= settings.shutdownTimeoutMs + 5000);
});

test("the seccomp profile lets AF_VSOCK through, and no family that the forwarder has no use for", () => {
  const profile = JSON.parse(readFileSync(join(FOLDER, "base/seccomp.json"), "utf8")) as {
    defaultAction: string;
    syscalls: {
      names: string[];
      action: string;
      errnoRet?: number;
      args?: { index: number; value: number; op: string }[];
    }[];
  };
  assert.equal(profile.defaultAction, "SCMP_ACT_ERRNO");
  const denied = profile.syscalls.filter(({ action }) => action !== "SCMP_ACT_ALLOW");
  // Said by itself too, since older runtimes have no default but EPERM, which C libraries do not take for "not there".
  assert.deepEqual(denied.map(({ names, errnoRet }) => [names, errnoRet]), [[["clone3"], 38]]);
  const sockets = profile.syscalls.filter(({ names }) => names.includes("socket"));
  // AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_VSOCK.
  assert.deepEqual(
    sockets.map(({ args }) => args),
    [1, 2, 10, 16, 40].map((value) => [
      { index: 0, value, op: "SCMP_CMP_EQ" },
    ]),
  );
  const names = profile.syscalls.flatMap((rule) => rule.names);
  assert.equal(new Set(names).size, names.length - 4, "a call that is named twice");
  for (const call of ["ptrace", "mount", "bpf", "keyctl", "io_uring_setup", "unshare", "setns"]) {
    assert.ok(!names.includes(call), call);
  }
});

const DEPLOY = fileURLToPath(new URL("../../deploy", import.meta.url));

test("the chart's two versions and the image's tag are the release", () => {
  const chart = readFileSync(join(DEPLOY, "helm/kata-trace-forwarder/Chart.yaml"), "utf8");
  assert.equal(/^version: (\S+)$/m.exec(chart)?.[1], VERSION);
  assert.equal(/^appVersion: (\S+)$/m.exec(chart)?.[1], VERSION);
});

test("alerts and dashboard use metrics that there are, and the dashboard uses all of the forwarder's", () => {
  const capacities = { guests: 1 };
  const metrics = new Metrics();
  metrics.destination("collector");
  const known = new Set(
    [...forwarderFamilies(metrics, capacities)].flatMap(({ name, type }) =>
      type === "histogram" ? [`${name}_bucket`] : [name]
    ),
  );
  const used = (text: string): Set<string> => new Set(text.match(/kata_trace_forwarder_[a-z_]+/g));
  const dashboard = used(readFileSync(join(DEPLOY, "grafana/kata-trace-forwarder.json"), "utf8"));
  const alerts = used(readFileSync(join(DEPLOY, "prometheus/alerts.yaml"), "utf8"));
  assert.deepEqual([...dashboard, ...alerts].filter((name) => !known.has(name)), []);
  // Numbers of batches say nothing that their bytes do not, and recovered and exported are in sums.
  const unused = ["queue_batches", "spool_batches", "spans_recovered_total", "exported_bytes_total", "spans_held"]
    .map((name) => `kata_trace_forwarder_${name}`);
  assert.deepEqual([...known].filter((name) => !dashboard.has(name)).sort(), unused.sort());
});
