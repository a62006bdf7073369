import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { endpoint, otlpSettings } from "../../src/options/endpoint.ts";
import type { OtlpProtocol } from "../../src/pipeline/settings.ts";
import { UsageError } from "../../src/options/values.ts";

const FLAG = "--otlp-endpoint";
const TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const BASE = "OTEL_EXPORTER_OTLP_ENDPOINT";
const INSECURE = "OTEL_EXPORTER_OTLP_INSECURE";

function settings(name: string, url: string, protocol?: OtlpProtocol, insecure?: boolean) {
  return otlpSettings(
    { value: endpoint(url), source: name === FLAG ? "flag" : "environment", name },
    protocol === undefined ? undefined : { value: protocol, source: "flag", name: "--otlp-protocol" },
    insecure === undefined ? undefined : { value: insecure, source: "environment", name: INSECURE },
  );
}

test("without an endpoint it is gRPC to this host, or with HTTP that protocol's own port", () => {
  assert.deepEqual(otlpSettings(undefined, undefined), {
    protocol: "grpc",
    url: "http://localhost:4317",
  });
  const said = { source: "flag", name: "--otlp-protocol" } as const;
  assert.deepEqual(otlpSettings(undefined, { value: "grpc", ...said }), {
    protocol: "grpc",
    url: "http://localhost:4317",
  });
  assert.deepEqual(otlpSettings(undefined, { value: "http/protobuf", ...said }), {
    protocol: "http/protobuf",
    url: "http://localhost:4318/v1/traces",
  });
});

test("the port decides if no protocol is given", () => {
  for (const name of [FLAG, TRACES, BASE]) {
    assert.deepEqual(settings(name, "https://c:4317/"), {
      protocol: "grpc",
      url: "https://c:4317",
    });
    assert.equal(settings(name, "http://c:4318").protocol, "http/protobuf");
    assert.equal(settings(name, "http://c").protocol, "http/protobuf");
    assert.equal(settings(name, "http://c:14317").protocol, "http/protobuf");
  }
});

test("for HTTP, /v1/traces is appended by the rules of each source", () => {
  for (
    const [name, given, expected] of [
      [FLAG, "http://c:4318", "http://c:4318/v1/traces"],
      [FLAG, "http://c:4318/", "http://c:4318/v1/traces"],
      [FLAG, "http://c:4318/base//", "http://c:4318/base/v1/traces"],
      [FLAG, "http://c:4318/v1/traces", "http://c:4318/v1/traces"],
      [FLAG, "http://c:4318/base/v1/traces/", "http://c:4318/base/v1/traces/"],
      [FLAG, "http://c:4318/xv1/traces", "http://c:4318/xv1/traces/v1/traces"],
      [FLAG, "http://c:4318/base?tenant=a#part", "http://c:4318/base/v1/traces?tenant=a"],
      [BASE, "http://c:4318", "http://c:4318/v1/traces"],
      [BASE, "http://c:4318/base/", "http://c:4318/base/v1/traces"],
      // The specification says that it is always a base, whatever its path looks like.
      [BASE, "http://c:4318/v1/traces", "http://c:4318/v1/traces/v1/traces"],
      [TRACES, "http://c:4318", "http://c:4318/"],
      [TRACES, "http://c:4318/other", "http://c:4318/other"],
    ] as const
  ) assert.equal(settings(name, given).url, expected, `${name}=${given}`);
});

test("a given protocol wins over the port", () => {
  assert.deepEqual(settings(FLAG, "http://c:4317", "http/protobuf"), {
    protocol: "http/protobuf",
    url: "http://c:4317/v1/traces",
  });
  assert.deepEqual(settings(BASE, "http://c:5000", "grpc"), {
    protocol: "grpc",
    url: "http://c:5000",
  });
  assert.deepEqual(settings(FLAG, "https://c", "grpc"), { protocol: "grpc", url: "https://c" });
  for (const given of ["http://c:80", "http://c:80/", " http://c:80?"]) {
    assert.deepEqual(settings(FLAG, given, "grpc"), { protocol: "grpc", url: "http://c" }, given);
  }
});

test("an endpoint that gRPC cannot use is refused, with the name of its flag or variable", () => {
  assert.throws(() => settings(BASE, "http://c:4317/v1/traces"), {
    name: "UsageError",
    message: 'OTEL_EXPORTER_OTLP_ENDPOINT: gRPC takes no path ("/v1/traces"): ' +
      "leave it out, or use --otlp-protocol http/protobuf",
  });
  assert.throws(() => settings(FLAG, "http://c:4317/?x=1"), /gRPC takes no path/);
  for (const given of ["http://c", "http://c/", "http://c?"]) {
    assert.throws(() => settings(FLAG, given, "grpc"), {
      name: "UsageError",
      message: "--otlp-endpoint: gRPC without TLS needs a port: give http://c:4317",
    }, given);
  }
  assert.throws(() => settings(FLAG, "http://[::1]", "grpc"), /give http:\/\/\[::1\]:4317/);
});

test("an invalid URL is refused with what to write instead", () => {
  for (
    const [given, message] of [
      ["", /^may not be empty$/],
      ["  ", /^may not be empty$/],
      ["a b:4317", /"a b:4317" has no scheme: give http:\/\/HOST:PORT/],
      ["collector/v1/traces", /has no scheme/],
      ["me@collector:4317", /has no scheme/],
      ["unix:", /is not the path of a socket: give unix:PATH or unix:\/\/\/PATH/],
      ["unix://host/path", /is not the path of a socket/],
      ["unix://", /is not the path of a socket/],
      [`unix:/${"x".repeat(107)}`, /is 108 bytes long, but a UNIX socket's path may have at most 107/],
      ["grpc://c:4317", /is not supported: give http:\/\/, https:\/\/ or unix:/],
      ["http://", /invalid URL/],
      ["http://c:99999", /invalid URL/],
      ["http://a b", /invalid URL/],
    ] as const
  ) {
    assert.throws(() => endpoint(given), (error) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, message);
      return true;
    }, given);
  }
});

test("a password in a URL is refused without being repeated", () => {
  assert.throws(() => endpoint("http://me:secret@c:4318"), (error) => {
    assert.ok(error instanceof UsageError);
    assert.match(error.message, /OTEL_EXPORTER_OTLP_HEADERS/);
    assert.ok(!error.message.includes("secret"));
    return true;
  });
});

test("a UNIX socket is for gRPC unless HTTP is given", () => {
  for (
    const [given, url] of [
      ["unix:/run/otel.sock", "unix:///run/otel.sock"],
      ["unix:///run/otel.sock", "unix:///run/otel.sock"],
      [" UNIX:/run/a b%#?.sock ", "unix:///run/a%20b%25%23%3F.sock"],
      ["unix:otel.sock", `unix://${process.cwd()}/otel.sock`],
    ] as const
  ) {
    for (const name of [FLAG, TRACES, BASE]) {
      assert.deepEqual(settings(name, given), { protocol: "grpc", url }, given);
      assert.deepEqual(settings(name, given, "http/protobuf"), { protocol: "http/protobuf", url }, given);
    }
  }
});

test("a host without a scheme is for gRPC, if OTEL_EXPORTER_OTLP_INSECURE says whether to use TLS", () => {
  for (
    const [given, insecure, url] of [
      ["c:4317", true, "http://c:4317"],
      ["c:4317", false, "https://c:4317"],
      ["c:5000", true, "http://c:5000"],
      ["c", true, "http://c:4317"],
      ["c", false, "https://c:4317"],
      ["[::1]:4317", true, "http://[::1]:4317"],
      ["[::1]", true, "http://[::1]:4317"],
      ["127.0.0.1:4317", true, "http://127.0.0.1:4317"],
    ] as const
  ) {
    assert.deepEqual(settings(BASE, given, undefined, insecure), { protocol: "grpc", url }, given);
    assert.deepEqual(settings(FLAG, given, "grpc", insecure), { protocol: "grpc", url }, given);
    assert.throws(() => settings(BASE, given, "http/protobuf", insecure), {
      name: "UsageError",
      message: /has no scheme/,
    });
    assert.throws(() => settings(BASE, given), {
      name: "UsageError",
      message: `${BASE}: "${given}" has no scheme: give http://HOST:PORT, or https://HOST:PORT for TLS`,
    });
  }
});

test("a scheme wins over OTEL_EXPORTER_OTLP_INSECURE, which cannot turn TLS off", () => {
  assert.equal(settings(BASE, "http://c:4317", undefined, true).url, "http://c:4317");
  assert.equal(settings(BASE, "http://c:4317", undefined, false).url, "http://c:4317");
  assert.equal(settings(BASE, "https://c:4317", undefined, false).url, "https://c:4317");
  for (const protocol of ["grpc", "http/protobuf"] as const) {
    assert.throws(() => settings(FLAG, "https://c:4317", protocol, true), {
      name: "UsageError",
      message: /^OTEL_EXPORTER_OTLP_INSECURE: true contradicts the https:\/\/ of --otlp-endpoint/,
    });
  }
});
