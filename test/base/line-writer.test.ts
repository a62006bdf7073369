import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { closeSync, constants, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { LineWriter } from "../../src/base/line-writer.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

/**
 * A writer whose descriptor is scripted: each call writes so many bytes or fails with that code. Later calls write all.
 */
function scripted(answers: (number | string)[], maxWaitMs = 10) {
  let written = "";
  let slept = 0;
  const writer = new LineWriter(9, {
    maxWaitMs,
    write: (fd, bytes) => {
      assert.equal(fd, 9);
      const answer = answers.shift() ?? bytes.length;
      if (typeof answer === "string") throw failure(answer);
      const taken = Math.min(answer, bytes.length);
      written += new TextDecoder().decode(bytes.subarray(0, taken));
      return taken;
    },
    sleep: (milliseconds) => slept += milliseconds,
  });
  return { writer, written: () => written, slept: () => slept };
}

test("a text is written completely even if the system takes it in parts", () => {
  const { writer, written, slept } = scripted([1, "EAGAIN", 2, "EINTR", "EAGAIN", "EAGAIN"]);
  assert.equal(writer.write("hello\n"), true);
  assert.equal(written(), "hello\n");
  assert.ok(slept() > 0);
  assert.equal(writer.lost, 0);
  assert.equal(writer.error, undefined);
});

test("the writer waits once for a reader that does not read, and not again until it reads", () => {
  const stall = Array<string>(6).fill("EAGAIN");
  const { writer, written, slept } = scripted([...stall, "EAGAIN", "EAGAIN"]);
  assert.equal(writer.write("one\n"), false);
  assert.equal(slept(), 10);
  assert.equal(writer.write("two\n"), false);
  assert.equal(writer.write("three\n"), false);
  assert.equal(slept(), 10);
  assert.equal(writer.lost, 3);
  assert.equal(writer.write("four\n"), true);
  assert.equal(written(), "four\n");
});

test("the rest of a text is written before the next text", () => {
  const { writer, written } = scripted([2, ...Array<string>(7).fill("EAGAIN")]);
  assert.equal(writer.write("one\n"), false);
  assert.equal(writer.write("two\n"), false);
  assert.equal(writer.write("three\n"), true);
  assert.equal(written(), "one\nthree\n");
  assert.equal(writer.lost, 2);
});

test("a reader that is gone ends nothing, and a disk that has space again is used again", () => {
  for (const code of ["EPIPE", "ENOSPC", "EIO"]) {
    const { writer, written, slept } = scripted([code, code]);
    assert.equal(writer.write("one\n"), false);
    assert.equal((writer.error as { code?: string } | undefined)?.code, code);
    assert.equal(writer.write("two\n"), false);
    assert.equal(slept(), 0);
    assert.equal(writer.lost, 2);
    assert.equal(writer.write("three\n"), true);
    assert.equal(writer.error, undefined);
    assert.equal(written(), "three\n");
  }
});

/** What runs a TypeScript file under the runtime of this test. */
function runtimeArguments(file: string): string[] {
  return "Deno" in globalThis ? ["run", "--quiet", "--no-check", "--allow-all", file] : [file];
}

const MODULE = new URL("../../src/base/line-writer.ts", import.meta.url).href;

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  using temporary = temporaryDirectory();
  const directory = temporary.path;
  await body(directory);
}

test("nothing is cut when a non-blocking pipe is full", () =>
  withDirectory(async (directory) => {
    const fifo = join(directory, "fifo");
    const copy = join(directory, "copy");
    execFileSync("mkfifo", [fifo]);
    // Both ends, so that opening does not wait for a reader; more than a pipe holds (64 KiB) is written.
    const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
    const reader = spawn("sh", ["-c", 'sleep 0.3; head -c 1000000 "$0" > "$1"', fifo, copy]);
    const ended = new Promise((resolve) => reader.on("close", resolve));
    const writer = new LineWriter(fd, { maxWaitMs: 30_000 });
    let expected = "";
    for (let line = 0; expected.length < 1_000_000; line++) {
      const text = `${line} ${"x".repeat(92 - String(line).length)}é\n`.slice(-96);
      assert.equal(writer.write(text), true);
      expected += text;
    }
    await ended;
    closeSync(fd);
    const received = readFileSync(copy);
    assert.equal(received.length, 1_000_000);
    assert.ok(received.equals(new TextEncoder().encode(expected).subarray(0, 1_000_000)));
  }));

test("an exit right after writing cuts nothing, and a closed pipe does not kill the process", () =>
  withDirectory(async (directory) => {
    const program = join(directory, "program.ts");
    writeFileSync(
      program,
      `import { LineWriter } from ${JSON.stringify(MODULE)};
      import process from "node:process";
      const writer = new LineWriter(1, { maxWaitMs: 30_000 });
      let written = 0;
      for (let i = 0; i < 20_000; i++) if (writer.write(i + " " + "x".repeat(40) + "\\n")) written++;
      process.exit(writer.error === undefined ? written === 20_000 ? 0 : 9 : 7);`,
    );
    const run = async (script: string) => {
      const child = spawn("sh", ["-c", script, process.execPath, ...runtimeArguments(program)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let output = "";
      child.stdout.on("data", (chunk: Uint8Array) => output += new TextDecoder().decode(chunk));
      const code = await new Promise((resolve) => child.on("close", resolve));
      return { code, output };
    };
    const whole = await run('"$0" "$@"');
    assert.equal(whole.code, 0);
    assert.equal(whole.output.split("\n").length, 20_001);
    assert.ok(whole.output.endsWith(`19999 ${"x".repeat(40)}\n`));
    const cut = await run('exec 3>&1; { "$0" "$@"; echo "code $?" >&3; } | head -n 1 >/dev/null');
    assert.equal(cut.output, "code 7\n");
  }));
