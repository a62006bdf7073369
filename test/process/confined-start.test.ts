import { copyFileSync } from "node:fs";
import assert from "node:assert/strict";
import { cLibraryPath } from "../../ffi/open-library.ts";
import { assertOneLine, runToEnd } from "./support/process.ts";
import { Sandbox } from "./support/sandbox.ts";
import { test } from "./support/test.ts";

/** Names of C libraries that a runtime looks for in the current directory. */
const LIBRARIES = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1", "ld-musl-x86_64.so.1"];

for (
  const [what, through, env] of [
    ["LimitDATA=512M", ["prlimit", `--data=${512 * 1024 ** 2}`], {}],
    ["LimitAS=2G", ["prlimit", `--as=${2 * 1024 ** 3}`], {}],
  ] as const
) {
  test(`${what}: one line says that executable memory is forbidden, and no library is loaded from here`, async () => {
    using sandbox = new Sandbox();
    // Real libraries, which can be loaded, but lack the C library's functions.
    const library = cLibraryPath().replace(/[^/]*$/, "libm.so.6");
    for (const name of LIBRARIES) copyFileSync(library, sandbox.path(name));
    const { code, stderr } = await runToEnd([
      "--socket-path",
      sandbox.socketPath,
      "--otlp-endpoint",
      "http://127.0.0.1:1",
    ], {
      through,
      env,
      cwd: sandbox.directory,
    });
    assert.equal(code, 1);
    assertOneLine(stderr, /: executable memory is forbidden here \(MemoryDenyWriteExecute=, /);
  });
}
