import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer as createTlsServer } from "node:https";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { checkCollector } from "../../src/check/collector.ts";
import { HostFiles } from "../../src/check/host-files.ts";
import { freePort, listen } from "../support/ports.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { CollectorStub } from "../support/collector-stub.ts";
import { settingsOf } from "./settings.ts";

const FILES = new HostFiles();
const DAY_MS = 24 * 60 * 60 * 1000;

test("a collector that is there answers, and one that is not says what to do", async () => {
  const stub = await CollectorStub.start();
  const there = await checkCollector(settingsOf("--otlp-endpoint", stub.url), FILES);
  await stub.stop();
  assert.deepEqual(there.map(({ state, found }) => `${state}: ${found}`), ["ok: answers an empty request"]);
  const away = await checkCollector(settingsOf("--otlp-endpoint", `http://127.0.0.1:${await freePort()}`), FILES);
  assert.equal(away[0]?.state, "problem");
  assert.match(away[0]?.found ?? "", /^no collector at http:\/\/127\.0\.0\.1:\d+\/v1\/traces \(.*ECONNREFUSED/);
  assert.match(away[0]?.advice ?? "", /^start it, or check --otlp-endpoint/);
});

test("with --dump-only no collector is asked", async () => {
  const [finding] = await checkCollector(settingsOf("--dump-only", "--otlp-endpoint", "http://127.0.0.1:1"), FILES);
  assert.equal(finding?.state, "note");
});

test("the end of the collector's certificate is told, and that of the files which are named", async () => {
  using directory = temporaryDirectory();
  const key = join(directory.path, "key.pem");
  const certificate = join(directory.path, "certificate.pem");
  const made = spawnSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"],
    ...["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
  ]);
  assert.equal(made.status, 0, String(made.stderr));
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (request, response) => {
    request.resume().on("end", () => response.writeHead(200, { "content-type": "application/x-protobuf" }).end());
  });
  const port = await listen(server);
  process.env["OTEL_EXPORTER_OTLP_CERTIFICATE"] = certificate;
  try {
    const settings = settingsOf("--otlp-endpoint", `https://localhost:${port}`);
    const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
    const now = Date.now();
    const findings = await checkCollector(settings, FILES, now);
    const ends = findings[1]?.found.replace("valid until ", "") ?? "";
    assert.ok([day(now + 30 * DAY_MS), day(now + 30 * DAY_MS - DAY_MS)].includes(ends), ends);
    const said = (list: typeof findings) => list.map(({ state, item }) => `${state} ${item.trim()}`);
    assert.deepEqual(said(findings), [
      `ok https://localhost:${port}/v1/traces (http/protobuf)`,
      "ok its certificate",
      "ok OTEL_EXPORTER_OTLP_CERTIFICATE",
    ]);
    assert.deepEqual(said(await checkCollector(settings, FILES, now + 10 * DAY_MS)).slice(1), [
      "warning its certificate",
      "warning OTEL_EXPORTER_OTLP_CERTIFICATE",
    ]);
    assert.deepEqual(said(await checkCollector(settings, FILES, now + 31 * DAY_MS)).slice(1), [
      "problem its certificate",
      "problem OTEL_EXPORTER_OTLP_CERTIFICATE",
    ]);
  } finally {
    delete process.env["OTEL_EXPORTER_OTLP_CERTIFICATE"];
    server.closeAllConnections();
    server.close();
  }
});

test("a certificate file that is missing is one problem, which names its variable", async () => {
  process.env["OTEL_EXPORTER_OTLP_CERTIFICATE"] = "/nowhere/ca.pem";
  try {
    const findings = await checkCollector(settingsOf("--otlp-endpoint", "https://localhost:1"), FILES);
    assert.equal(findings[0]?.state, "problem");
    assert.match(findings[0]?.found ?? "", /OTEL_EXPORTER_OTLP_CERTIFICATE/);
  } finally {
    delete process.env["OTEL_EXPORTER_OTLP_CERTIFICATE"];
  }
});
