import assert from "node:assert/strict";
import { test } from "node:test";
import { redactDebugText } from "../../src/processors/debug-text.ts";

const CASES: Readonly<Record<string, string | undefined>> = {
  'Process { Args: ["/bin/sh", "-c"], Env: ["A=b"], Cwd: "/" }':
    'Process { Args: [redacted], Env: [redacted], Cwd: "/" }',
  'env: Some(["A=]\\"}", "B"]), x: 1': "env: Some([redacted]), x: 1",
  "env: None, args: Some([]), n: 1": "env: None, args: Some([redacted]), n: 1",
  "data: [1, 2, 3], offset: 0": "data: [redacted], offset: 0",
  'https_proxy: "http://u:p@h:1", no_proxy: "x"': "https_proxy: [redacted], no_proxy: [redacted]",
  // Debug text within debug text has its quotes and backslashes escaped once more.
  'inner: "Process { env: [\\"A=\\\\\\"q\\\\\\"\\", \\"B=\\\\\\\\\\"], z: 1 }"':
    'inner: "Process { env: [redacted], z: 1 }"',
  // `{:#?}`.
  'env: Some(\n    [\n        "A=b",\n    ],\n),': "env: Some(\n    [redacted],\n),",
  '{"env": {"A": "b"}, "c": 1}': '{"env": [redacted], "c": 1}',
  // A value that has been cut.
  'cwd: "/", env: ["A=b", "SECR': 'cwd: "/", env: [redacted]',
  'env: [["a"], ["b"]] rest': "env: [redacted] rest",
  'environment: [1], myenv: [2], env_x: [3], data_dir: "x"': undefined,
  "Arguments without a value: env": undefined,
  "env: 5, args: true": undefined,
  "": undefined,
};

for (const [text, expected] of Object.entries(CASES)) {
  test(`redacts ${JSON.stringify(text)}`, () => assert.equal(redactDebugText(text), expected));
}

test("hostile text takes linear time", () => {
  for (const piece of ["env: [", 'env: "', "env: \\", "\\", "a_proxy", "env:Some(", '"', "data: [1,"]) {
    const text = piece.repeat(400_000 / piece.length);
    const result = redactDebugText(text);
    assert.ok(result === undefined || result.length <= 2 * text.length + 20);
  }
});
