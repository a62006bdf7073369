import process from "node:process";
import { errnoName } from "../../ffi/errors.ts";
import { LineWriter } from "../base/line-writer.ts";
import { type Command, parseCommandLine } from "../options/cli.ts";
import { EXIT } from "./exit-codes.ts";
import { LOG_WAIT_MS, STDOUT, warn } from "./standard-error.ts";

/** Does what the command line says. Resolves with the exit code. */
export async function runCommand(): Promise<number> {
  const command = parseCommandLine(process.argv.slice(2), process.env, process.stdout.columns);
  if (command.kind === "run" || isLiveView(command)) {
    const { run } = await import("./run.ts");
    return await run(command.settings, command.kind === "view" && process.stdout.isTTY);
  }
  const output = new LineWriter(STDOUT, { maxWaitMs: LOG_WAIT_MS });
  const code = await print(command, output);
  // A script that is cut off is worse than none. But a reader that is gone (`| head`) has what it wanted.
  if (output.lost > 0 && errnoName(output.error) !== "EPIPE") {
    throw new Error("standard output cannot be written", { cause: output.error });
  }
  return code;
}

/** Whether `view` shows what is received, and not files. */
function isLiveView(command: Command): command is Command & { readonly kind: "view" } {
  return command.kind === "view" && command.files.length === 0 && command.from === undefined;
}

/** Runs the commands that print something and end. Resolves with the exit code. */
async function print(
  command: Exclude<Command, { readonly kind: "run" }>,
  { write }: LineWriter,
): Promise<number> {
  switch (command.kind) {
    case "help":
    case "version":
      write(command.text);
      return EXIT.clean;
    case "licenses": {
      const { THIRD_PARTY_NOTICES } = await import("../notices/third-party.ts");
      write(THIRD_PARTY_NOTICES);
      return EXIT.clean;
    }
    case "completions":
      write(command.script);
      return EXIT.clean;
    case "check": {
      const { runCheck } = await import("../check/check.ts");
      return await runCheck(command, write);
    }
    case "view": {
      const { runViewFiles } = await import("../view/commands/view-files.ts");
      return await runViewFiles(command, write);
    }
    case "compare": {
      const { runCompare } = await import("../view/commands/compare-command.ts");
      return await runCompare(command, write);
    }
    case "export": {
      const { runExport } = await import("../view/commands/export-command.ts");
      runExport(command, write, warn);
      return EXIT.clean;
    }
    case "replay": {
      const { runReplay } = await import("../view/commands/replay-command.ts");
      return await runReplay(command, write, warn);
    }
    case "demo": {
      const { runDemo } = await import("../demo/demo.ts");
      return await runDemo(command, write);
    }
  }
}
