import process from "node:process";
import { parseCommandLine } from "./cli.ts";
import { startForwarder } from "./forwarder.ts";
import { LineWriter } from "./line-writer.ts";
import { createLogger, describeError, type Logger, printable } from "./log.ts";
import type { Settings } from "./settings.ts";
import { connectServiceManager } from "./system/service-manager.ts";
import { COMMIT } from "./version.ts";

/** The process's exit codes, as its users' scripts read them. */
const EXIT = { clean: 0, failedStart: 1, lost: 2 } as const;

/** File descriptors, as POSIX numbers them. */
const STDOUT = 1;
const STDERR = 2;
/** How long the log waits for a reader that does not read, milliseconds: guests wait as long. */
const LOG_WAIT_MS = 100;
/** How long the dump waits for one: its reader (a pager, say) is who the spans are for. */
const DUMP_WAIT_MS = 24 * 60 * 60 * 1000;

const errors = new LineWriter(STDERR, { maxWaitMs: LOG_WAIT_MS });

function fail(error: unknown): void {
  errors.write(`kata-trace-forwarder: ${printable(describeError(error), 4096)}\n`);
  process.exitCode = EXIT.failedStart;
}

function loggerFor({ log, dumpOnly }: Settings): Logger {
  // With --dump-only standard output is for spans.
  const fd = dumpOnly ? STDERR : STDOUT;
  const writer = new LineWriter(fd, { maxWaitMs: LOG_WAIT_MS });
  const terminal = dumpOnly ? process.stderr.isTTY : process.stdout.isTTY;
  const noColour = process.env["NO_COLOR"];
  return createLogger({
    ...log,
    colour: terminal && (noColour === undefined || noColour === ""),
    write: writer.write,
  });
}

/** Runs until a signal has ended it; resolves with the exit code. */
async function run(settings: Settings): Promise<number> {
  const log = loggerFor(settings);
  log.info("announce", { "commit-version": COMMIT });
  const manager = await connectServiceManager(process.env, log);
  const dump = new LineWriter(STDOUT, { maxWaitMs: DUMP_WAIT_MS });
  let forwarder;
  try {
    forwarder = await startForwarder(settings, { log, dump: dump.write });
  } catch (error) {
    log.error("cannot start", { error: describeError(error) });
    manager.close();
    throw error;
  }
  manager.ready(`listening at ${forwarder.address}`);
  process.on("SIGUSR1", () => forwarder.logFigures());

  const lost = await new Promise<number>((resolve, reject) => {
    let stopping = false;
    const onSignal = (signal: string): void => {
      if (stopping) {
        log.warn("second signal: ending at once", { signal });
        forwarder.abort().then(resolve, reject);
        return;
      }
      stopping = true;
      log.info("stopping", { signal });
      manager.stopping("delivering what guests have sent", settings.shutdownTimeoutMs);
      forwarder.stop().then(resolve, reject);
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
  });
  manager.close();
  log.info("stopped", { lost });
  return lost > 0 ? EXIT.lost : EXIT.clean;
}

async function main(): Promise<number> {
  const command = parseCommandLine(process.argv.slice(2), process.env);
  const output = new LineWriter(STDOUT, { maxWaitMs: LOG_WAIT_MS });
  switch (command.kind) {
    case "help":
    case "version":
      output.write(command.text);
      return EXIT.clean;
    case "completions":
      output.write(command.script);
      return EXIT.clean;
    case "demo": {
      const { runDemo } = await import("./demo/demo.ts");
      return await runDemo(command, output.write);
    }
    case "run":
      return await run(command.settings);
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  fail(error);
}
// Sockets and timers that are still there shall not keep the process.
process.exit();
