import assert from "node:assert/strict";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { REAL_STREAMS, streamBytes } from "../decode/support/recorded-streams.ts";
import { freePort } from "../support/ports.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { type Forwarder, startForwarder } from "./support/forwarder.ts";
import { startStub } from "./support/pipeline.ts";
import { CLEAN, runToEnd } from "./support/process.ts";
import { guestLife, Sandbox } from "./support/sandbox.ts";
import { spansOf, taken } from "./support/spans.ts";
import { test } from "./support/test.ts";

/** Secrets of the recorded containers, from their environment and arguments. */
const SECRETS = ["hunter2", "not-a-real-secret", "echo hello", "id; ls /", "DB_PASSWORD"];
/** What every session has, and what redaction leaves. */
const HARMLESS = "create_container";

/** A session of the agent in each of its encodings. */
const SESSIONS = [["bincode", "3.28.0-session.bincode"], ["JSON", "4.1.0-session.json"]].map(([encoding, name]) => {
  const stream = REAL_STREAMS.find(({ file }) => file.includes(String(name)));
  if (stream === undefined) throw new Error(`there is no stream ${name}`);
  return { encoding, bytes: streamBytes(stream), spans: stream.spans };
});

/** All files below a directory, as text with a character for each byte. */
function filesBelow(directory: string): string {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => readFileSync(path, "latin1"))
    .join("\n");
}

/** Bytes as text with a character for each. */
function asText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

function assertRedacted(text: string, where: string): void {
  assert.ok(text.includes(HARMLESS), `nothing is in ${where}`);
  for (const secret of SECRETS) assert.ok(!text.includes(secret), `${secret} is in ${where}`);
}

for (const { encoding, bytes, spans } of SESSIONS) {
  test(`without --redact the secrets of a session in ${encoding} leave, and the start says so once`, async () => {
    await using stub = await startStub();
    using sandbox = new Sandbox();
    await using forwarder = await startForwarder([
      ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url],
    ]);
    await guestLife(sandbox.address, bytes);
    await taken(stub, spans);
    assert.deepEqual(await forwarder.stop(), CLEAN);
    const text = spansOf(stub).map(({ span }) => asText(span)).join("\n");
    for (const secret of ["hunter2", "DB_PASSWORD"]) assert.ok(text.includes(secret), secret);
    const said = forwarder.records.filter(({ msg }) => msg.includes("see --redact and docs/privacy.md"));
    assert.equal(said.length, 1);
  });

  test(`--redact is before the spool, the record and the trace store: ${encoding}`, async () => {
    using directory = temporaryDirectory();
    chmodSync(directory.path, 0o777);
    using sandbox = new Sandbox();
    const path = (name: string): string => join(directory.path, name);
    const args = [
      ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", `http://127.0.0.1:${await freePort()}`],
      ...["--wait-for-collector", "--redact", "default", "--spool-dir", path("spool"), "--metrics", "0"],
      ...["--record", path("record.jsonl"), "--view", "127.0.0.1:0", "--store", path("store")],
    ];
    const spooled = async (forwarder: Forwarder): Promise<boolean> =>
      await forwarder.metric("spans_held", "collector") === spans &&
      await forwarder.metric("spans_forwarded_total", "store") === spans;
    {
      await using forwarder = await startForwarder(args);
      await guestLife(sandbox.address, bytes);
      await until(() => spooled(forwarder), "all are held for the collector, and stored");
      // What is on disk stays there.
      assert.deepEqual(await forwarder.stop(), CLEAN);
    }
    assertRedacted(filesBelow(path("spool")), "the spool");
    assertRedacted(readFileSync(path("record.jsonl"), "utf8"), "the record");
    assertRedacted(filesBelow(directory.path), "any file");
    // The store packs what it holds.
    const exported = path("exported.jsonl");
    const { code, stderr } = await runToEnd(["export", "--store", path("store"), "--otlp", exported]);
    assert.equal(code, 0, stderr);
    assert.ok(existsSync(exported));
    assertRedacted(readFileSync(exported, "utf8"), "the store");
  });

  test(`--redact is before the collector and the dead letters: ${encoding}`, async () => {
    using directory = temporaryDirectory();
    chmodSync(directory.path, 0o777);
    await using stub = await startStub();
    // Among these are spans with a container's whole specification.
    const isRefused = (span: Uint8Array): boolean => asText(span).includes(HARMLESS);
    stub.answer = ({ spans }) =>
      spans.some(({ span }) => isRefused(span)) ? { kind: "status", status: 400 } : { kind: "ok" };
    using sandbox = new Sandbox();
    const letters = join(directory.path, "dead-letters");
    await using forwarder = await startForwarder([
      ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url, "--metrics", "0"],
      ...["--redact", "default", "--dead-letter", letters],
    ]);
    await guestLife(sandbox.address, bytes);
    await until(async () => (await forwarder.figures()).held === 0, "all are settled");
    await forwarder.stop();
    assertRedacted(readFileSync(letters, "utf8"), "the dead letters");
    assertRedacted(spansOf(stub).map(({ span }) => asText(span)).join("\n"), "the requests");
  });

  test(`--redact is before --dump-only, in both of its formats: ${encoding}`, async () => {
    for (const format of ["json", "text"]) {
      using sandbox = new Sandbox();
      await using forwarder = await startForwarder([
        ...["--socket-path", sandbox.socketPath, "--dump-only", "--dump-format", format, "--redact", "default"],
      ]);
      await guestLife(sandbox.address, bytes);
      assert.deepEqual(await forwarder.stop(), CLEAN);
      assertRedacted(forwarder.stdout, `the dump as ${format}`);
    }
  });
}
