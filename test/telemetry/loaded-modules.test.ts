import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startChild } from "../support/child.ts";
import { HttpReceiver } from "../exporters/support/http-receiver.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** Packages that only self-tracing uses. */
const SDK = [
  "@opentelemetry/otlp-transformer",
  "@opentelemetry/resources",
  "@opentelemetry/sdk-trace",
  "@opentelemetry/sdk-trace-base",
];

/** The packages that a forwarder with these options has loaded at its end. */
async function loadedBy(...options: string[]): Promise<string[]> {
  const receiver = new HttpReceiver();
  await receiver.listen();
  using temporary = temporaryDirectory();
  const directory = temporary.path;
  chmodSync(directory, 0o777);
  try {
    const socket = join(directory, "clh.sock");
    const child = startChild(
      new URL("./loaded-modules.child.ts", import.meta.url),
      ...["--socket-path", socket, "--otlp-endpoint", receiver.url, ...options],
    );
    let output = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => output += text);
    await new Promise((resolve) => child.once("close", resolve));
    return JSON.parse(output) as string[];
  } finally {
    await receiver.close();
  }
}

test("the SDK is loaded only if own spans are on", async () => {
  const without = await loadedBy();
  assert.deepEqual(without.filter((name) => /^@(opentelemetry|grpc)\//.test(name)), []);
  // This shows that loaded packages are noticed.
  const withOwn = await loadedBy("--trace-self");
  assert.deepEqual(withOwn.filter((name) => SDK.includes(name)).sort(), SDK);
});
