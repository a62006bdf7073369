import assert from "node:assert/strict";
import { test } from "node:test";
import type { OtlpProtocol } from "../../src/pipeline/settings.ts";
import { createExporter } from "../../src/exporters/create-exporter.ts";
import { ExporterSettingsError } from "../../src/pipeline/exporter.ts";
import { CA, CLIENT, SERVER } from "./support/certificates.ts";
import { withEnvironment, withFiles } from "./support/environment.ts";
import { RecordingLogger } from "../support/recording-logger.ts";

const PROTOCOLS: readonly OtlpProtocol[] = ["grpc", "http/protobuf"];
const HTTPS = "https://localhost:4318/v1/traces";
const HTTP = "http://localhost:4318/v1/traces";

/** Makes an exporter and closes it; what it had to say. */
async function create(
  protocol: OtlpProtocol,
  url: string,
  variables: Record<string, string>,
): Promise<string[]> {
  const log = new RecordingLogger();
  const endpoint = protocol === "grpc" ? new URL(url).origin : url;
  const exporter = await withEnvironment(
    variables,
    () => createExporter({ protocol, url: endpoint }, log),
  );
  assert.equal(exporter.concurrency, 4);
  exporter.close();
  return log.records.filter(({ level }) => level !== "debug")
    .map(({ level, message }) => `${level} ${message}`);
}

async function refused(
  protocol: OtlpProtocol,
  url: string,
  variables: Record<string, string>,
): Promise<string> {
  try {
    await create(protocol, url, variables);
  } catch (error) {
    assert.ok(error instanceof ExporterSettingsError, String(error));
    return error.message;
  }
  assert.fail("no error");
}

for (const protocol of PROTOCOLS) {
  test(`${protocol}: nothing set is fine, and says nothing`, async () => {
    for (const url of [HTTP, HTTPS]) assert.deepEqual(await create(protocol, url, {}), []);
  });

  test(`${protocol}: certificates and a key`, async () => {
    await withFiles(
      { ca: `some text\n${CA}${SERVER.cert}`, cert: CLIENT.cert, key: CLIENT.key },
      async ({ ca, cert, key }) => {
        const all = { CERTIFICATE: ca, TRACES_CLIENT_CERTIFICATE: cert, CLIENT_KEY: key };
        assert.deepEqual(await create(protocol, HTTPS, all), []);
        assert.deepEqual(await create(protocol, HTTPS, { CERTIFICATE: ca }), []);
        assert.deepEqual(
          await create(protocol, HTTPS, { CLIENT_CERTIFICATE: cert, CLIENT_KEY: key }),
          [],
        );
      },
    );
  });

  test(`${protocol}: a file that is not there is an error with variable and path`, async () => {
    await withFiles({ cert: CLIENT.cert, key: CLIENT.key }, async ({ cert, key }) => {
      const pair = { CLIENT_CERTIFICATE: cert, CLIENT_KEY: key };
      for (const name of ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"]) {
        for (const variable of [name, `TRACES_${name}`]) {
          const message = await refused(protocol, HTTPS, { ...pair, [variable]: "/no/such.pem" });
          assert.equal(message, `OTEL_EXPORTER_OTLP_${variable}: "/no/such.pem" cannot be read`);
        }
      }
    });
  });

  test(`${protocol}: a file that holds something else is an error with variable and path`, async () => {
    const files = { ca: CA, cert: CLIENT.cert, key: CLIENT.key, other: SERVER.key, junk: "junk" };
    await withFiles(files, async ({ ca, cert, key, other, junk }) => {
      const cases: [Record<string, string>, RegExp][] = [
        [{ CERTIFICATE: junk }, /OTLP_CERTIFICATE: .*junk.* no certificate/],
        [{ CERTIFICATE: key }, /OTLP_CERTIFICATE: .*key.* no certificate/],
        [{ CLIENT_CERTIFICATE: junk, CLIENT_KEY: key }, /CLIENT_CERTIFICATE: .* no certificate/],
        [{ CLIENT_CERTIFICATE: cert, CLIENT_KEY: ca }, /CLIENT_KEY: .* no private key/],
        [{ CLIENT_CERTIFICATE: cert, CLIENT_KEY: other }, /does not belong to the key of OTEL_/],
        [{ CLIENT_CERTIFICATE: cert }, /_CLIENT_CERTIFICATE is set without OTEL_.*_CLIENT_KEY/],
        [{ TRACES_CLIENT_KEY: key }, /_TRACES_CLIENT_KEY is set without .*_CLIENT_CERTIFICATE/],
      ];
      for (const [variables, message] of cases) {
        assert.match(await refused(protocol, HTTPS, variables), message);
      }
    });
  });

  test(`${protocol}: a compression that is not supported is an error that lists those that are`, async () => {
    for (const variable of ["COMPRESSION", "TRACES_COMPRESSION"]) {
      const message = await refused(protocol, HTTP, { [variable]: "zstd" });
      assert.equal(
        message,
        `OTEL_EXPORTER_OTLP_${variable}: "zstd" is not supported; supported are none, gzip`,
      );
    }
    for (const COMPRESSION of ["none", "gzip", " ", ""]) {
      assert.deepEqual(await create(protocol, HTTP, { COMPRESSION }), []);
    }
    // The one for all signals does not count then.
    const both = { COMPRESSION: "zstd", TRACES_COMPRESSION: "gzip" };
    assert.deepEqual(await create(protocol, HTTP, both), []);
  });

  test(`${protocol}: headers that would be left out are an error, without their values`, async () => {
    for (const variable of ["HEADERS", "TRACES_HEADERS"]) {
      for (
        const [value, number] of [
          ["Authorization: Bearer secret", 1],
          ["a=1,secret", 2],
          ["a=1,,=secret", 3],
          ["a=1, b=%zzsecret ", 2],
          [" =secret", 1],
          ["Cookie=a=1;b=secret", 1],
        ] as const
      ) {
        const message = await refused(protocol, HTTP, { [variable]: value });
        const start = `OTEL_EXPORTER_OTLP_${variable}: number ${number} of its members is not KEY=VALUE`;
        assert.ok(message.startsWith(start), message);
        assert.ok(!message.includes("secret"));
      }
      for (const value of ["", " ", "a=1", "a=1,b=%20x%2C==,", " a = 1 , b=2%3Bc=3", "a="]) {
        assert.deepEqual(await create(protocol, HTTP, { [variable]: value }), [], value);
      }
    }
  });

  test(`${protocol}: what the variables say of an endpoint is not warned of, since it is given`, async () => {
    const variables = { ENDPOINT: "junk", TRACES_ENDPOINT: "more junk" };
    assert.deepEqual(await create(protocol, HTTP, variables), []);
  });

  test(`${protocol}: a timeout that no timer takes is an error`, async () => {
    for (const variable of ["TIMEOUT", "TRACES_TIMEOUT"]) {
      for (const value of ["2147483648", "99999999999", "1e300", "Infinity"]) {
        assert.equal(
          await refused(protocol, HTTP, { [variable]: value }),
          `OTEL_EXPORTER_OTLP_${variable}: "${value}" is too long: give milliseconds, at most 2147483647`,
        );
      }
    }
    assert.deepEqual(await create(protocol, HTTP, { TIMEOUT: "2147483647" }), []);
  });

  test(`${protocol}: a timeout that is none is warned of, and the default is used`, async () => {
    for (const value of ["-5", "0", "soon"]) {
      assert.deepEqual(await create(protocol, HTTP, { TIMEOUT: value }), [
        `warn OTEL_EXPORTER_OTLP_TIMEOUT is invalid and ignored: "${value}" is not a number of milliseconds from 1; ` +
        "10000 is used",
      ]);
    }
  });
}

test("the number of requests at once can be said", async () => {
  const exporter = await createExporter(
    { protocol: "http/protobuf", url: HTTP },
    new RecordingLogger(),
    { concurrency: 2 },
  );
  assert.equal(exporter.concurrency, 2);
  exporter.close();
});
