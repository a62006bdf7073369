import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runDemo, type StartForwarder } from "../../src/demo/demo.ts";
import { EncodedSpans } from "../../src/otlp/encoded-spans.ts";
import { RequestBuilder } from "../../src/otlp/request-builder.ts";
import { overlayFor } from "../../src/pipeline/source-overlay.ts";
import { socketSource } from "../../src/receivers/vsock/identity.ts";
import { FrameReader } from "../../src/decode/frame-reader.ts";
import { frameSink } from "../decode/support/frame-sink.ts";
import { PayloadDecoder } from "../../src/decode/payload-decoder.ts";

/** Faults of a forwarder. */
interface Faults {
  readonly skip?: number;
  readonly repeat?: number;
  readonly traceName?: string;
  readonly lost?: number;
}

/** A minimal forwarder for one guest and one request, with faults. */
function forwarder(faults: Faults, seen: { directory?: string } = {}): StartForwarder {
  return async ({ listen: [listen], otlp, traceName }) => {
    assert.ok(listen.kind === "hybrid");
    seen.directory = dirname(listen.socketPath);
    const overlay = overlayFor(socketSource(listen.socketPath), {
      traceName: faults.traceName ?? traceName,
      resourceAttributes: new Map(),
    });
    const builder = new RequestBuilder();
    const spans = new EncodedSpans();
    const decoder = new PayloadDecoder();
    let frames = 0;
    const reader = new FrameReader(
      1024 * 1024,
      frameSink((buffer, start, end) => {
        spans.clear();
        decoder.decode(buffer, start, end, spans);
        const resource = overlay.apply(
          spans.writer.buffer.subarray(spans.resourceStart(0), spans.resourceEnd(0)),
        );
        const times = frames === faults.skip ? 0 : frames === faults.repeat ? 2 : 1;
        for (let i = 0; i < times; i++) builder.append(builder.resource(resource), spans, 0);
        frames++;
      }),
    );
    const server = createServer((guest) => {
      guest.on("data", (chunk: Uint8Array) => reader.push(chunk));
      guest.on("end", () => {
        guest.end();
        void fetch(otlp.url, { method: "POST", body: builder.finish().slice() });
      });
    });
    await new Promise<void>((resolve) => server.listen(`${listen.socketPath}_${listen.port}`, resolve));
    return {
      async stop() {
        await new Promise((resolve) => server.close(resolve));
        return faults.lost ?? 0;
      },
    };
  };
}

/** Runs the demo with a forwarder that has these faults. It waits 300 ms for missing spans. */
async function demo(faults: Faults, width = 100) {
  const seen: { directory?: string } = {};
  let output = "";
  const code = await runDemo(
    { width, logLevel: "error" },
    (text) => output += text,
    forwarder(faults, seen),
    300,
  );
  assert.ok(seen.directory);
  assert.equal(existsSync(seen.directory), false, "the directory is removed");
  const plain = output.replace(/\x1b\[[\d;]*m/g, "");
  assert.doesNotMatch(plain, /[^\P{Cc}\n]/u);
  return { code, lines: plain.split("\n") };
}

test("if every span arrives, all traces are drawn as one sandbox, with figures, and the exit code is 0", async () => {
  const { code, lines } = await demo({});
  assert.equal(code, 0);
  // A heading, a blank line, three lines of the sandbox, 95 spans, a blank line, the figures, what to do next, the end.
  assert.equal(lines.length, 104);
  assert.match(lines[2] as string, /^sandbox kata-trace-forwarder-demo-\w+$/);
  assert.equal(lines[3], "ended, 95 spans in 27 traces");
  assert.equal(
    lines[4],
    "5.81 s to start: Guest kernel + agent 1.10 s, Sandbox 1.77 s, Create 2.88 s, Start 63.9 ms",
  );
  assert.match(lines[5] as string, /^root-span .* {3}14\.8 s$/);
  // The child is in another trace than its parent.
  const child = lines.findIndex((line) => /^└─ do_signal_process |^`- do_signal_process /.test(line));
  assert.match(lines[child - 1] as string, /^signal_process /);
  assert.match(
    lines[101] as string,
    /^95 spans, every field as it was sent; 254222 bytes in, \d{6} bytes out in 1 request, [\d.]+ m?s$/,
  );
  assert.equal(lines[102], "kata-trace-forwarder demo --view shows it in a browser.");
  assert.equal(lines[103], "");
});

test("the user can set the width", async () => {
  const { lines } = await demo({}, 60);
  assert.equal(lines[5]?.length, 60);
});

test("a span that does not arrive is named, and the exit code is 1", async () => {
  const { code, lines } = await demo({ skip: 0 });
  assert.equal(code, 1);
  assert.ok(
    lines.includes("error: span 64adf055b9dfa766 (get_mount_fs_type_from_file) did not arrive"),
  );
  assert.match(lines.at(-2) as string, /^FAILED: 94 of 95 spans, see above; 254222 bytes in/);
});

test("a span that arrives twice is named, and the exit code is 1", async () => {
  const { code, lines } = await demo({ repeat: 94 });
  assert.equal(code, 1);
  assert.deepEqual(lines.filter((line) => line.startsWith("error: ")), [
    "error: span fdcb30df2a038762 (root-span) arrived 2 times",
  ]);
});

test("different fields are shown, and beyond a number only counted", async () => {
  const { code, lines } = await demo({ traceName: "other" });
  assert.equal(code, 1);
  const errors = lines.filter((line) => line.startsWith("error: "));
  assert.equal(errors.length, 21);
  assert.match(
    errors[0] as string,
    /\(get_mount_fs_type_from_file\): resource is \{.*"other".*kata-agent/,
  );
  assert.equal(errors[20], "error: and 75 more");
});

test("spans that the forwarder gave up fail the demo, even if all arrived", async () => {
  const { code, lines } = await demo({ lost: 2 });
  assert.equal(code, 1);
  assert.ok(lines.includes("error: the forwarder gave up 2 spans"));
});

test("if the forwarder does not start, its error is shown and nothing is left behind", async () => {
  let directory = "";
  const start: StartForwarder = ({ listen: [listen] }) => {
    assert.ok(listen.kind === "hybrid");
    directory = dirname(listen.socketPath);
    assert.ok(existsSync(directory));
    return Promise.reject(new Error("no start today"));
  };
  await assert.rejects(runDemo({ logLevel: "error" }, () => {}, start), /no start today/);
  assert.equal(existsSync(directory), false);
});

test("the real forwarder runs in a process of its own, in which root becomes another user", () => {
  const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
  const runtime = "Deno" in globalThis ? ["run", "--quiet", "--no-check", "--unstable-vsock", "--allow-all"] : [];
  // An environment of its own, so that the tester's variables for OTLP have no effect.
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...runtime, main, "demo", "--width", "80", "--log-level", "info"],
    { encoding: "utf8", env: { PATH: process.env["PATH"], LC_ALL: "C" } },
  );
  assert.equal(status, 0);
  const lines = stdout.split("\n");
  assert.match(lines.at(-3) as string, /^95 spans, every field as it was sent; 254222 bytes in/);
  // Without a terminal and UTF-8 there are neither colours nor blocks.
  assert.match(stdout, /^[ -~\n]*$/);
  const [, socket] = /listening address=(\S+demo\.hvsock_10240)/.exec(stderr) ?? [];
  assert.ok(socket, stderr);
  assert.equal(existsSync(dirname(socket)), false, "the directory is removed");
});
