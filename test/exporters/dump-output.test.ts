import assert from "node:assert/strict";
import { test } from "node:test";
import { DumpOutput } from "../../src/exporters/dump-output.ts";
import { until } from "../support/until.ts";

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: of the test`), { code });
}

/** A descriptor that takes so many bytes at a time, or fails, as a script says; then everything. */
function scripted(script: (number | string)[]) {
  let text = "";
  let taken = 0;
  const errors: Error[] = [];
  const output = new DumpOutput(7, {
    onError: (error) => errors.push(error),
    write: (fd, bytes) => {
      assert.equal(fd, 7);
      const step = script.shift() ?? bytes.length;
      if (typeof step === "string") throw systemError(step);
      const length = Math.min(step, bytes.length);
      text += new TextDecoder().decode(bytes.subarray(0, length));
      return length;
    },
  });
  output.onTaken = () => taken++;
  return { output, errors, text: () => text, taken: () => taken };
}

async function turns(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 30));
}

test("what the reader takes is written at once, in parts if need be", () => {
  const { output, text, taken } = scripted([2, "EINTR", 1]);
  output.write("one\n");
  assert.deepEqual([text(), taken()], ["one\n", 1]);
  output.write("");
  assert.equal(taken(), 1);
});

test("what it does not take is kept, in order, and tried again", async () => {
  const { output, text, taken } = scripted([3, "EAGAIN", "EAGAIN", 4, "EAGAIN"]);
  output.write("first\n");
  output.write("second\n");
  assert.deepEqual([text(), taken()], ["fir", 0]);
  await until(() => taken() === 1);
  assert.deepEqual([text(), taken()], ["first\nsecond\n", 1]);
  output.write("third\n");
  assert.deepEqual([text(), taken()], ["first\nsecond\nthird\n", 2]);
});

test("no write is larger than what a pipe takes whole", () => {
  const sizes: number[] = [];
  const output = new DumpOutput(7, {
    onError: assert.fail,
    write: (_, bytes) => {
      sizes.push(bytes.length);
      return bytes.length;
    },
  });
  output.write("x".repeat(10_000));
  assert.deepEqual(sizes, [4096, 4096, 1808]);
});

test("a reader that has gone is told once, and nothing is written any more", async () => {
  for (const code of ["EPIPE", "ENOSPC", "EIO"]) {
    const { output, errors, text, taken } = scripted([2, "EAGAIN", code]);
    output.write("first\n");
    output.write("second\n");
    await until(() => errors.length > 0);
    output.write("third\n");
    await turns();
    assert.deepEqual(errors.map(({ message }) => message), [`${code}: of the test`]);
    assert.deepEqual([text(), taken()], ["fi", 0]);
  }
});
