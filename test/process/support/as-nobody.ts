import { chmodSync, copyFileSync } from "node:fs";
import { EXECUTABLE, type RunOptions } from "./process.ts";
import { IS_ROOT, NOBODY } from "../../support/root.ts";
import type { Sandbox } from "./sandbox.ts";

/**
 * How to run the executable as an ordinary user: as it is if the tests run as one, or else as nobody, from a copy that
 * nobody can reach.
 */
export function asOrdinaryUser(sandbox: Sandbox): RunOptions {
  if (!IS_ROOT) return {};
  chmodSync(sandbox.directory, 0o777);
  const executable = sandbox.path("kata-trace-forwarder");
  copyFileSync(EXECUTABLE, executable);
  chmodSync(executable, 0o755);
  return {
    executable,
    through: ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"],
  };
}
