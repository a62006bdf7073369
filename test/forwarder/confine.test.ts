import assert from "node:assert/strict";
import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { reachableFiles } from "../../src/forwarder/confine.ts";
import { parseCommandLine } from "../../src/options/cli.ts";
import type { Settings } from "../../src/pipeline/settings.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

function settingsOf(...args: string[]): Settings {
  const command = parseCommandLine(args, {});
  assert.equal(command.kind, "run");
  return command.kind === "run" ? command.settings : assert.fail();
}

test("what the settings name can be written, or made where it is missing, and nothing beside it", () => {
  using directory = temporaryDirectory();
  const path = (...names: string[]): string => join(directory.path, ...names);
  for (const name of ["sandboxes", "spool", "letters", "records", "next"]) mkdirSync(path(name));
  const { writable, readable } = reachableFiles(
    settingsOf(
      ...["--socket-path", path("sandboxes", "{ID}", "clh.sock"), "--spool-dir", path("spool", "not", "there")],
      ...["--dead-letter", path("letters", "dead.jsonl"), "--record", path("records", "all.jsonl")],
      ...["--take-over", path("next", "socket")],
    ),
    {},
  );
  const ours = (paths: readonly string[]): string[] => paths.filter((each) => each.startsWith(directory.path));
  assert.deepEqual(ours(writable), [path("sandboxes"), path("spool"), path("letters"), path("records"), path("next")]);
  assert.deepEqual(ours(readable), []);
  assert.ok(!writable.includes("/") && !readable.includes("/"));
});

test("the sources can be read, and nothing for them if they are in the executable", () => {
  const sources = new URL("../../", import.meta.url).pathname;
  const fromSources = reachableFiles(settingsOf(), {}).readable;
  const inExecutable = reachableFiles(settingsOf(), {}, "file:///$bunfs/root/chunk-0a1b.js").readable;
  assert.deepEqual(fromSources.filter((path) => !inExecutable.includes(path)), [sources]);
  assert.ok(!inExecutable.includes("/"));
});

test("keys and certificates that variables name can be read where they are replaced", () => {
  const { readable } = reachableFiles(settingsOf(), {
    OTEL_EXPORTER_OTLP_CERTIFICATE: "/secrets/ca/ca.pem",
    OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: "/secrets/client/key.pem",
    SSL_CERT_FILE: "relative.pem",
    OTEL_EXPORTER_OTLP_HEADERS: "/not/a/file",
    HOME: "/home/user",
  });
  assert.deepEqual(readable.filter((path) => /^\/(secrets|not|home)/.test(path)), ["/secrets/ca", "/secrets/client"]);
  assert.ok(readable.includes(process.execPath));
});

test("a key that is a link can be read where it lies too", () => {
  using directory = temporaryDirectory();
  const path = (...names: string[]): string => join(realpathSync(directory.path), ...names);
  for (const name of ["live", "archive"]) mkdirSync(path(name));
  writeFileSync(path("archive", "key1.pem"), "");
  symlinkSync("../archive/key1.pem", path("live", "key.pem"));
  const { readable } = reachableFiles(settingsOf(), { OTEL_EXPORTER_OTLP_CLIENT_KEY: path("live", "key.pem") });
  assert.deepEqual(readable.filter((each) => each.startsWith(path())), [path("live"), path("archive")]);
});
