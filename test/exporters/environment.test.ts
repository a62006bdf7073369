import assert from "node:assert/strict";
import { test } from "node:test";
import { type Environment, readEnvironment } from "../../src/exporters/environment.ts";
import { ExporterSettingsError } from "../../src/pipeline/exporter.ts";

const PREFIX = "OTEL_EXPORTER_OTLP_";

function read(variables: Readonly<Record<string, string>>, protocol: "grpc" | "http/protobuf" = "grpc") {
  const named = Object.entries(variables).map(([name, value]) => [PREFIX + name, value]);
  return readEnvironment(protocol, Object.fromEntries(named) as Environment);
}

function refused(variables: Readonly<Record<string, string>>, protocol?: "grpc" | "http/protobuf"): string {
  try {
    read(variables, protocol);
  } catch (error) {
    assert.ok(error instanceof ExporterSettingsError, String(error));
    return error.message;
  }
  assert.fail(`no error for ${JSON.stringify(variables)}`);
}

test("nothing set", () => {
  for (const variables of [{}, { HEADERS: " ", TIMEOUT: "", COMPRESSION: " ", CERTIFICATE: "\t" }]) {
    assert.deepEqual(read(variables), { headers: new Map(), timeoutMs: 10_000, gzip: false, warnings: [] });
  }
});

test("the variable for traces wins, header by header", () => {
  const { headers, timeoutMs, gzip, authority } = read({
    HEADERS: "A=1,B=2",
    TRACES_HEADERS: "b=3, c=%20x%2C=",
    TIMEOUT: "1",
    TRACES_TIMEOUT: "2.9",
    COMPRESSION: "none",
    TRACES_COMPRESSION: " gzip ",
    CERTIFICATE: "/all",
    TRACES_CERTIFICATE: " /traces ",
  });
  assert.deepEqual([...headers], [["a", "1"], ["b", "3"], ["c", " x,="]]);
  assert.deepEqual([timeoutMs, gzip], [2, true]);
  assert.deepEqual(authority, { name: `${PREFIX}TRACES_CERTIFICATE`, path: "/traces" });
});

test("what the exporter sends itself cannot be set, as with OpenTelemetry's exporters", () => {
  const { headers } = read({ HEADERS: "content-type=text/plain,User-Agent=me,content-encoding=br,a=1" });
  assert.deepEqual([...headers], [["a", "1"]]);
});

test("headers that would break every request are refused", () => {
  for (const name of ["Content-Length", "transfer-encoding", "connection", "te", "expect", "upgrade"]) {
    for (const protocol of ["grpc", "http/protobuf"] as const) {
      assert.equal(
        refused({ HEADERS: `a=1,${name}=1` }, protocol),
        `${PREFIX}HEADERS: number 2 of its members: ${name.toLowerCase()} is set by the transport: leave it out`,
      );
    }
  }
  assert.match(refused({ HEADERS: "grpc-status=0" }), /grpc-status is set by the transport/);
  assert.deepEqual([...read({ HEADERS: "grpc-status=0" }, "http/protobuf").headers], [["grpc-status", "0"]]);
});

test("binary metadata is in base64", () => {
  assert.deepEqual([...read({ HEADERS: "x-bin=AAH/,y-bin=AA==" }).headers], [["x-bin", "AAH/"], ["y-bin", "AA=="]]);
  assert.match(refused({ HEADERS: "x-bin=secret!" }), /number 1 of its members: metadata .* in base64$/);
  assert.deepEqual([...read({ HEADERS: "x-bin=any!" }, "http/protobuf").headers], [["x-bin", "any!"]]);
});

test("metadata is ASCII", () => {
  assert.equal(
    refused({ HEADERS: "a=secr%C3%A4t" }),
    `${PREFIX}HEADERS: number 1 of its members: \
the value of "a" is not ASCII, as metadata must be`,
  );
  assert.deepEqual([...read({ HEADERS: "a=%C3%A4" }, "http/protobuf").headers], [["a", "ä"]]);
});

test("what cannot be in a header is refused without its value", () => {
  assert.equal(
    refused({ HEADERS: "a%0Ab=1" }),
    `${PREFIX}HEADERS: number 1 of its members: "a\\nb" is not the name of a header`,
  );
  const message = refused({ TRACES_HEADERS: "a=secret%0D%0Aevil: 1" });
  assert.equal(
    message,
    `${PREFIX}TRACES_HEADERS: number 1 of its members: the value of "a" cannot be sent in a header`,
  );
});

test("quotation marks that a deployment tool has left are an error that names the variable", () => {
  const whole = "the value has quotation marks around it, which would be taken as part of it: leave them out";
  for (const quote of ['"', "'"]) {
    for (
      const [name, value] of [["HEADERS", "authorization=Bearer x"], ["COMPRESSION", "gzip"], ["CERTIFICATE", "/ca"], [
        "TIMEOUT",
        "5",
      ]]
    ) {
      assert.equal(refused({ [name as string]: ` ${quote}${value}${quote}` }), `${PREFIX}${name}: ${whole}`);
    }
    const member = refused({ HEADERS: `a=1,b=${quote}secret${quote}` });
    assert.equal(
      member,
      `${PREFIX}HEADERS: number 2 of its members has quotation marks: leave them out, or write %22 where one is meant`,
    );
    assert.match(refused({ HEADERS: `${quote}a=1,b=2` }), /number 1 of its members has quotation marks/);
  }
  assert.deepEqual([...read({ HEADERS: "a=%22x%22,b=it's" }).headers], [["a", '"x"'], ["b", "it's"]]);
});
