import { copyFileSync } from "node:fs";
import process from "node:process";
import { describeError } from "./base/log.ts";
import { refusedVariable } from "./base/runtime-variables.ts";
import { HELPER_VARIABLE, type HelperSettings } from "./helper/protocol.ts";
import { EXIT } from "./main/exit-codes.ts";
import { warn } from "./main/standard-error.ts";
import { type ProcessSettings, VIEWER_VARIABLE } from "./view/process/viewer-settings.ts";

/**
 * Holds `FROM:TO`: a process that has it only copies a file. The DaemonSet's init container uses it, because its image
 * has no other program for that.
 */
const COPY_VARIABLE = "KATA_TRACE_FORWARDER_INTERNAL_COPY";

/**
 * Everything else is loaded by what is to be done, so that the helper and the viewer's processes need neither time nor
 * memory for the forwarder's code. Resolves with the exit code.
 */
async function main(): Promise<number> {
  const refused = refusedVariable(process.env);
  if (refused !== undefined) throw new Error(refused);
  const copy = process.env[COPY_VARIABLE];
  if (copy !== undefined) {
    const [from = "", to = ""] = copy.split(":");
    copyFileSync(from, to);
    return EXIT.clean;
  }
  const viewer = process.env[VIEWER_VARIABLE];
  if (viewer !== undefined) {
    const settings = JSON.parse(viewer) as ProcessSettings;
    if (settings.role === "supervisor") {
      const { supervisorMain } = await import("./view/process/supervisor.ts");
      return await supervisorMain(settings);
    }
    const { viewerMain } = await import("./view/process/viewer.ts");
    return await viewerMain(settings);
  }
  const helper = process.env[HELPER_VARIABLE];
  if (helper !== undefined) {
    const { helperMain } = await import("./helper/helper.ts");
    return await helperMain(JSON.parse(helper) as HelperSettings);
  }
  const { runCommand } = await import("./main/command.ts");
  return await runCommand();
}

try {
  process.exitCode = await main();
} catch (error) {
  warn(describeError(error));
  process.exitCode = EXIT.failedStart;
}
// Sockets and timers that still exist must not keep the process running.
process.exit();
