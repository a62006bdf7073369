import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseProxy } from "../../../src/exporters/connection/proxy.ts";
import { targetOf } from "../../../src/exporters/connection/target.ts";
import { ExporterSettingsError } from "../../../src/pipeline/exporter.ts";

type Variables = Readonly<Record<string, string>>;

const PLAIN = "http://collector.test:4318/v1/traces";
const SECURE = "https://collector.test:4318/v1/traces";

/** Which variable's proxy is used, and where it is. */
function chosen(protocol: "grpc" | "http/protobuf", url: string, environment: Variables): string | undefined {
  const { proxy } = chooseProxy(protocol, targetOf(url), environment);
  return proxy && `${proxy.variable} ${proxy.secure ? "https" : "http"} ${proxy.host} ${proxy.port}`;
}

test("HTTP goes through the proxy of its scheme, gRPC through the first that there is", () => {
  const environment = {
    all_proxy: "http://all:1",
    http_proxy: "http://plain:1",
    https_proxy: "http://secure:1",
    grpc_proxy: "http://grpc:1",
  };
  assert.equal(chosen("http/protobuf", PLAIN, environment), "http_proxy http plain 1");
  assert.equal(chosen("http/protobuf", SECURE, environment), "https_proxy http secure 1");
  for (const url of ["http://collector.test:4317", "https://collector.test:4317"]) {
    const { grpc_proxy: _, ...withoutGrpc } = environment;
    const { https_proxy: __, ...withoutSecure } = withoutGrpc;
    assert.equal(chosen("grpc", url, environment), "grpc_proxy http grpc 1");
    assert.equal(chosen("grpc", url, withoutGrpc), "https_proxy http secure 1");
    assert.equal(chosen("grpc", url, withoutSecure), "http_proxy http plain 1");
    assert.equal(chosen("grpc", url, { ALL_PROXY: "all:1" }), "ALL_PROXY http all 1");
    assert.equal(chosen("grpc", url, {}), undefined);
  }
  assert.equal(chosen("http/protobuf", PLAIN, { https_proxy: "http://secure:1" }), undefined);
  assert.equal(
    chosen("http/protobuf", SECURE, { http_proxy: "http://plain:1", all_proxy: "http://all:1" }),
    "all_proxy http all 1",
  );
});

test("upper case counts too, and lower case wins; an empty variable is none", () => {
  assert.equal(chosen("http/protobuf", SECURE, { HTTPS_PROXY: "upper:1" }), "HTTPS_PROXY http upper 1");
  assert.equal(
    chosen("http/protobuf", SECURE, { HTTPS_PROXY: "upper:1", https_proxy: "lower:1" }),
    "https_proxy http lower 1",
  );
  assert.equal(
    chosen("http/protobuf", SECURE, { HTTPS_PROXY: "upper:1", https_proxy: " " }),
    "HTTPS_PROXY http upper 1",
  );
  assert.equal(chosen("http/protobuf", SECURE, { https_proxy: "" }), undefined);
  for (const name of ["no_proxy", "NO_PROXY"]) {
    assert.equal(
      chosen("http/protobuf", SECURE, { https_proxy: "lower:1", [name]: "a, collector.test:4318" }),
      undefined,
    );
  }
  assert.equal(
    chosen("http/protobuf", SECURE, { https_proxy: "lower:1", no_proxy: "a", NO_PROXY: "*" }),
    "https_proxy http lower 1",
  );
});

test("ways to write a proxy", () => {
  for (
    const [value, expected] of [
      ["proxy.test:3128", "http proxy.test 3128"],
      ["127.0.0.1:3128", "http 127.0.0.1 3128"],
      [" http://proxy.test:3128/ ", "http proxy.test 3128"],
      ["HTTP://proxy.test", "http proxy.test 80"],
      ["https://proxy.test", "https proxy.test 443"],
      ["http://[::1]:3128", "http ::1 3128"],
    ] as const
  ) {
    assert.equal(
      chosen("grpc", "http://collector.test:4317", { https_proxy: value }),
      `https_proxy ${expected}`,
      value,
    );
  }
});

test("user and password are decoded, and sent as Basic", () => {
  const withUser = (user: string) =>
    chooseProxy("grpc", targetOf(SECURE), { https_proxy: `http://${user}@proxy.test:1` }).proxy?.authorization;
  const basic = (text: string): string => `Basic ${btoa(text)}`;
  assert.equal(withUser("me:secret"), basic("me:secret"));
  assert.equal(withUser("me%40example.com:p%3A%2F%25"), basic("me@example.com:p:/%"));
  assert.equal(withUser("me"), basic("me:"));
  assert.equal(chooseProxy("grpc", targetOf(SECURE), { https_proxy: "proxy.test:1" }).proxy?.authorization, undefined);
});

test("a proxy that cannot be used is an error that names the variable, and not its value", () => {
  for (
    const value of [
      "socks5://me:secret@proxy.test:1080",
      "ftp://secret.test",
      "http://",
      "http://secret.test:99999",
      '"http://secret.test:3128"',
      "'secret.test:3128'",
      "http://secret.test:3128/path",
      "http://me:secr%zz@proxy.test",
    ]
  ) {
    assert.throws(() => chosen("grpc", "http://collector.test:4317", { HTTPS_PROXY: value }), (error) => {
      assert.ok(error instanceof ExporterSettingsError, String(error));
      assert.match(
        error.message,
        /^HTTPS_PROXY: .*: give http:\/\/HOST:PORT or https:\/\/HOST:PORT, or name the collector in no_proxy$/,
      );
      assert.ok(!error.message.includes("secr"), error.message);
      return true;
    }, value);
    // It is of no interest where it is not used.
    assert.equal(chosen("grpc", "http://collector.test:4317", { HTTPS_PROXY: value, no_proxy: "*" }), undefined);
    assert.equal(chosen("http/protobuf", PLAIN, { HTTPS_PROXY: value }), undefined);
  }
});

test("this host is reached without a proxy by its name, and so is a socket", () => {
  const environment = { https_proxy: "http://proxy.test:1", http_proxy: "http://proxy.test:1" };
  for (const url of ["http://localhost:4317", "http://a.localhost:4317", "unix:///run/otel.sock"]) {
    assert.equal(chosen("grpc", url, environment), undefined, url);
  }
  // As curl does; whoever writes an address may mean a tunnel.
  assert.equal(chosen("grpc", "http://127.0.0.1:4317", environment), "https_proxy http proxy.test 1");
});

test("what no_proxy has that means nothing is warned of", () => {
  const { warnings } = chooseProxy("grpc", targetOf("http://collector.test:4317"), {
    https_proxy: "http://proxy.test:1",
    NO_PROXY: "10.0.0.0/99,other.test",
  });
  assert.deepEqual(warnings, [
    'NO_PROXY: "10.0.0.0/99" is neither a host nor an address or a range (10.0.0.0/8): it is ignored',
  ]);
});
