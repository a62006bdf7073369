import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseCommandLine, UsageError } from "../../src/options/cli.ts";
import type { Environment } from "../../src/options/resolve.ts";
import type { Settings } from "../../src/pipeline/settings.ts";

function settings(argv: readonly string[], environment: Environment = {}): Settings {
  const command = parseCommandLine(argv, environment);
  if (command.kind !== "run") throw new Error(command.kind);
  return command.settings;
}

function usageError(argv: readonly string[], environment: Environment = {}): string {
  try {
    parseCommandLine(argv, environment);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  throw new Error("was taken");
}

const LOOPBACK = { host: "127.0.0.1" } as const;

describe("--jaeger-listen", () => {
  test("goes with credentials and with the spans of HTTP/2", () => {
    const { jaeger } = settings([
      "--jaeger-listen",
      "14268",
      "--jaeger-user",
      "kata",
      "--jaeger-password-file",
      "/etc/password",
      "--keep-http2-noise",
    ]);
    assert.deepEqual(jaeger, {
      listen: { ...LOOPBACK, port: 14268 },
      credentials: { user: "kata", passwordFile: "/etc/password" },
      keepHttp2Noise: true,
    });
  });
  test("a user without a password, or the other way round, is an error", () => {
    assert.equal(
      usageError(["--jaeger-listen", "1", "--jaeger-user", "kata"]),
      "--jaeger-user needs --jaeger-password-file too",
    );
    assert.equal(
      usageError([], { KATA_TRACE_FORWARDER_JAEGER_PASSWORD_FILE: "/p" }),
      "KATA_TRACE_FORWARDER_JAEGER_PASSWORD_FILE needs --jaeger-user too",
    );
    assert.equal(
      usageError(["--jaeger-user", "a:b", "--jaeger-password-file", "/p"]),
      '--jaeger-user: "a:b" has a colon, which no HTTP user name may have',
    );
  });
});

describe("--otlp-listen", () => {
  test("may be given again, and an address twice is one", () => {
    const { otlpListen } = settings(["--otlp-listen", "4317", "--otlp-listen", ":4318", "--otlp-listen", "4317"]);
    assert.deepEqual(otlpListen, [{ ...LOOPBACK, port: 4317 }, { ...LOOPBACK, port: 4318 }]);
    assert.equal(settings(["--otlp-listen", "0", "--otlp-listen", "0"]).otlpListen.length, 2);
  });
  test("several addresses in the variable have commas between them", () => {
    assert.deepEqual(settings([], { KATA_TRACE_FORWARDER_OTLP_LISTEN: "4317,[::1]:4318" }).otlpListen, [
      { ...LOOPBACK, port: 4317 },
      { host: "::1", port: 4318 },
    ]);
  });
});

describe("--all-sources", () => {
  test("leaves out a default port that is given otherwise", () => {
    const { jaeger, otlpListen } = settings([
      "--all-sources",
      "--jaeger-listen",
      "localhost:14000",
      "--otlp-listen",
      "127.0.0.2:4317",
    ]);
    assert.deepEqual(jaeger?.listen, { host: "localhost", port: 14000 });
    assert.deepEqual(otlpListen, [{ host: "127.0.0.2", port: 4317 }, { ...LOOPBACK, port: 4318, optional: true }]);
  });
});

describe("beyond the loopback address", () => {
  for (const host of ["0.0.0.0", "[::]", "192.0.2.1", "node.example"]) {
    test(`${host} needs TLS or a word of consent`, () => {
      for (const option of ["--otlp-listen", "--jaeger-listen"]) {
        assert.equal(
          usageError([option, `${host}:4317`]),
          `${option}: "${host}:4317" is not a loopback address: ` +
            "give --listen-cert and --listen-key for TLS, or --insecure-listen",
        );
        settings([option, `${host}:4317`, "--insecure-listen"]);
        settings([option, `${host}:4317`, "--listen-cert", "/c", "--listen-key", "/k"]);
      }
    });
  }
  for (const host of ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "[0:0:0:0:0:0:0:1]", ""]) {
    test(`"${host}" is not`, () => {
      assert.equal(settings(["--otlp-listen", `${host}:4317`]).otlpListen.length, 1);
    });
  }
  test("a certificate needs its key, a key its certificate, and an authority both", () => {
    assert.equal(usageError(["--listen-cert", "/c"]), "--listen-cert needs --listen-key too");
    assert.equal(usageError(["--listen-key", "/k"]), "--listen-key needs --listen-cert too");
    assert.equal(usageError(["--listen-client-ca", "/a"]), "--listen-client-ca needs --listen-cert and --listen-key");
  });
});

test("guests over AF_VSOCK are optional beside a receiver, and needed if a CID is given", () => {
  const [beside] = settings(["--jaeger-listen", "1"]).listen;
  assert.deepEqual(beside, { kind: "vsock", cid: "any", port: 10240, optional: true });
  const [asked] = settings(["--jaeger-listen", "1", "--vsock-cid", "any"]).listen;
  assert.deepEqual(asked, { kind: "vsock", cid: "any", port: 10240 });
  const [socket, ...others] = settings(["--jaeger-listen", "1", "--socket-path", "/run/x/clh.sock"]).listen;
  assert.equal(socket.kind, "hybrid");
  assert.deepEqual(others, []);
});
