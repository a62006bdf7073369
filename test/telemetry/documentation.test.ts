import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { environmentNames } from "../../src/options/option.ts";
import { OPTIONS } from "../../src/options/table.ts";
import { Metrics } from "../../src/pipeline/metrics.ts";
import { forwarderFamilies } from "../../src/telemetry/metrics-families.ts";
import { processFamilies } from "../../src/telemetry/metrics-process.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PAGES = ["docs/troubleshooting.md", "docs/scaling.md"];

function page(name: string): string {
  return readFileSync(join(ROOT, name), "utf8");
}

/** All of the program's source in one, with strings that are split over lines put together. */
const SOURCE = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => readFileSync(join(ROOT, "src", name), "utf8"))
  .join("\n")
  .replaceAll(/["`]\s*\+\s*["`]/g, "");

test("the program writes every log record that the documentation names", () => {
  const messages = PAGES.flatMap((name) =>
    [...page(name).matchAll(/`"msg":"([^"]+)"`/g)].map(([, message = ""]) => message.replace(/\s+/g, " "))
  );
  assert.ok(messages.length >= 15, `${messages.length}`);
  assert.deepEqual(messages.filter((message) => !SOURCE.includes(JSON.stringify(message))), []);
});

test("the program has every error that the documentation names", () => {
  const [, table = ""] = /## It does not start\n([^]*?)\n## /.exec(page("docs/troubleshooting.md")) ?? [];
  const messages = [...table.matchAll(/^\| `([^`]+)` \|/gm)].map(([, message]) => message as string);
  assert.ok(messages.length >= 6, `${messages}`);
  const parts = messages.flatMap((message) => message.split("…")).map((part) => part.replace(/^[: ]+/, "").trim());
  assert.deepEqual(parts.filter((part) => !SOURCE.replace(/\s+/g, " ").includes(part)), []);
});

test("every metric and reason that the documentation names is served", () => {
  const metrics = new Metrics();
  metrics.receiver("vsock");
  metrics.destination("collector");
  const families = [
    ...forwarderFamilies(metrics, { guests: 1 }),
    ...processFamilies(),
  ];
  const known = new Set(families.map(({ name }) => name));
  const named = PAGES.flatMap((name) => page(name).match(/\b(kata_trace_forwarder|process)_[a-z_]+/g) ?? []);
  assert.ok(named.length >= 20, `${named.length}`);
  assert.deepEqual(named.filter((name) => !known.has(name)), []);

  const reasons = families.flatMap((family) =>
    family.type === "histogram" ? [] : family.samples.map(({ labels }) => labels?.["reason"])
  );
  const troubleshooting = page("docs/troubleshooting.md");
  // In the tables' first column.
  const told = [...troubleshooting.matchAll(/^\| `([a-z]+(?:-[a-z]+)+)` \|/gm)].map(([, name]) => name);
  assert.ok(told.length >= 6, `${told}`);
  assert.deepEqual(told.filter((reason) => !reasons.includes(reason)), []);
});

test("every option that the documentation names exists", () => {
  const flags = new Set(
    Object.values(OPTIONS).flatMap((option) => [
      ...environmentNames(option),
      ...("flag" in option ? [option.flag as string] : []),
    ]),
  );
  // Jaeger's options, and variables of OpenTelemetry's exporters.
  const foreign = ["--query", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_HEADERS"];
  const named = PAGES.flatMap((name) =>
    page(name).match(/(?<=[`\s(])--[a-z][a-z-]+|\bOTEL_[A-Z_]+|\bKATA_TRACE_FORWARDER_[A-Z_]+/g) ??
      []
  ).filter((name) => !["--json"].includes(name));
  assert.ok(named.length >= 15, `${named}`);
  assert.deepEqual(named.filter((name) => !flags.has(name) && !foreign.includes(name)), []);
});

test("every link within the repository leads somewhere", () => {
  for (const name of PAGES) {
    const links = [...page(name).matchAll(/\]\(([^)#]+)\)/g)].map(([, link]) => link as string);
    assert.ok(links.length > 0);
    for (const link of links) {
      assert.ok(existsSync(join(ROOT, "docs", link)), `${name}: ${link}`);
    }
  }
});
