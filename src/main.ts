import { copyFileSync } from "node:fs";
import process from "node:process";
import { errnoName } from "../ffi/errors.ts";
import { loadLibc } from "../ffi/libc.ts";
import { Continuation, isRestartedAtItsEnd } from "./continuation.ts";
import { type Command, parseCommandLine } from "./options/cli.ts";
import { HELPER_VARIABLE, type HelperSettings } from "./helper/protocol.ts";
import { DumpOutput } from "./exporters/dump-output.ts";
import { type Forwarder, startForwarder } from "./forwarder.ts";
import { LineWriter } from "./base/line-writer.ts";
import { createLogger, describeError, type Logger, printable } from "./base/log.ts";
import { nonBlocking } from "./host/non-blocking.ts";
import { refusedVariable } from "./base/runtime-variables.ts";
import type { Settings } from "./pipeline/settings.ts";
import { isIgnored } from "./host/ignored-signals.ts";
import { DescriptorStore } from "./host/handover/descriptor-store.ts";
import { inheritDescriptors } from "./host/handover/inherit-descriptors.ts";
import { connectServiceManager, type ServiceManager } from "./host/service-manager.ts";
import { COMMIT } from "./base/version.ts";
import { type ProcessSettings, VIEWER_VARIABLE } from "./view/process/viewer-settings.ts";

/** The process's exit codes, which users' scripts read. */
const EXIT = { clean: 0, failedStart: 1, lost: 2 } as const;

/**
 * Holds `FROM:TO`: a process that has it only copies a file. The DaemonSet's init container does that, whose image has
 * no program for it.
 */
const COPY_VARIABLE = "KATA_TRACE_FORWARDER_INTERNAL_COPY";

/** File descriptors, numbered as in POSIX. */
const STDOUT = 1;
const STDERR = 2;
/** How long the log waits for a reader that does not read, milliseconds. Guests wait that long too. */
const LOG_WAIT_MS = 100;
/** How long the end waits for the service manager to store what is left for the next process, milliseconds. */
const LEAVE_WAIT_MS = 1000;
/** The longest error on standard error, UTF-16 units. */
const LONGEST_ERROR = 4096;

function fail(error: unknown): void {
  const { write } = new LineWriter(STDERR, { maxWaitMs: LOG_WAIT_MS });
  write(`kata-trace-forwarder: ${printable(describeError(error), LONGEST_ERROR)}\n`);
  process.exitCode = EXIT.failedStart;
}

/** Reports something that went wrong but does not end the command. */
function warn(text: string): void {
  new LineWriter(STDERR, { maxWaitMs: LOG_WAIT_MS }).write(`kata-trace-forwarder: ${printable(text, LONGEST_ERROR)}\n`);
}

function loggerFor({ log, dumpOnly }: Settings): Logger {
  // With --dump-only spans are on standard output.
  const stream = dumpOnly ? process.stderr : process.stdout;
  const fd = nonBlocking(dumpOnly ? STDERR : STDOUT);
  const { write } = new LineWriter(fd, { maxWaitMs: LOG_WAIT_MS });
  const noColour = process.env["NO_COLOR"];
  const colour = stream.isTTY && (noColour === undefined || noColour === "");
  return createLogger({ ...log, colour, write });
}

/** Runs until a signal or a failure ends it. Resolves with the exit code. */
async function run(settings: Settings): Promise<number> {
  const log = loggerFor(settings);
  log.info("announce", { "commit-version": COMMIT });
  const manager = await connectServiceManager(process.env, log);
  const continuation = await openContinuation(manager, log);
  const ended = Promise.withResolvers<number>();
  let forwarder: Forwarder | undefined;
  let stopping = false;
  /** Another process continues with the guests, and this one only delivers what it has. */
  let takenOver = false;
  const toldToStop = Promise.withResolvers<void>();

  const abort = (): void => void forwarder?.abort().then(ended.resolve, ended.reject);
  const stop = (): void => {
    stopping = true;
    manager.stopping("delivering what guests have sent", settings.shutdownTimeoutMs);
    forwarder?.stop().then(ended.resolve, ended.reject);
  };
  const onSignal = (signal: string): void => {
    if (forwarder === undefined) {
      // Nothing listens yet, so nothing can be lost.
      log.info("stopped before the start was done", { signal });
      process.exit(EXIT.clean);
    }
    if (takenOver) {
      takenOver = false;
      log.info("stopping", { signal });
      return toldToStop.resolve();
    }
    // When a terminal closes, SIGHUP comes from the shell and from the kernel. systemd sends it after SIGTERM.
    if (stopping && signal === "SIGHUP") return;
    if (stopping) {
      log.warn("second signal: ending at once", { signal });
      abort();
    } else {
      log.info("stopping", { signal });
      stop();
    }
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  // The terminal has closed, which is not a reason to stop if `nohup` is used.
  if (!isIgnored("SIGHUP")) process.on("SIGHUP", onSignal);
  process.on("SIGUSR1", () => forwarder?.logFigures());

  const dump = new DumpOutput(settings.dumpOnly ? nonBlocking(STDOUT) : STDOUT, {
    onError: (error) => {
      log.error("standard output takes no more spans: ending", { error });
      abort();
    },
  });
  let broken = false;
  const onDefect = (error: unknown): void => {
    broken = true;
    const stack = error instanceof Error ? error.stack : undefined;
    log.log("critical", "internal error: stopping", { error: stack ?? describeError(error) });
    if (forwarder === undefined) {
      fail(error);
      process.exit();
    }
    if (!stopping) stop();
  };
  process.on("uncaughtException", onDefect);
  process.on("unhandledRejection", onDefect);
  try {
    forwarder = await startForwarder(settings, {
      log,
      dump,
      isConfined: true,
      ...(continuation && { continuation }),
      onHelperEnded: () => {
        // With nothing to lose a restart is better than to go on without new sandboxes.
        if (continuation?.persists !== true || stopping) return;
        broken = true;
        stop();
      },
      onTakenOver: (delivered, succeeded) => {
        stopping = takenOver = true;
        manager.stopping("another process takes over", settings.shutdownTimeoutMs);
        const isOver = isRestartedAtItsEnd(process.env)
          ? toldToStop.promise
          : Promise.race([succeeded, toldToStop.promise]);
        void succeeded.then(() => log.info("another process has taken over"));
        Promise.all([delivered, isOver]).then(([lost]) => ended.resolve(lost), ended.reject);
      },
    });
  } catch (error) {
    log.error("cannot start", { error: describeError(error) });
    manager.close();
    throw error;
  }
  manager.ready(`listening at ${forwarder.address}`);

  const lost = await ended.promise;
  if (!await manager.flushed(LEAVE_WAIT_MS)) {
    log.warn("the service manager has not taken everything that was to be left to the next process");
  }
  manager.close();
  log.info("stopped", { lost });
  return lost > 0 || broken ? EXIT.lost : EXIT.clean;
}

/** What an earlier process has left, and what this one leaves; undefined if this runtime cannot use it. */
async function openContinuation(manager: ServiceManager, log: Logger): Promise<Continuation | undefined> {
  const store = new DescriptorStore(manager, log.of("hand-over"));
  const continuation = await Continuation.open(store, log.of("hand-over"));
  if (continuation === undefined && manager.descriptorPlaces > 0) {
    log.warn("Deno cannot go on with connections of an earlier process: a restart ends them, with Bun it does not");
  }
  if (continuation !== undefined && process.env["LISTEN_FDS"] !== undefined) {
    store.inherit(inheritDescriptors(await loadLibc(), process.env, process.pid), true);
  }
  return continuation;
}

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
  const command = parseCommandLine(process.argv.slice(2), process.env);
  if (command.kind === "run" || isLiveView(command)) return await run(command.settings);
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
      const { THIRD_PARTY_NOTICES } = await import("./notices/third-party.ts");
      write(THIRD_PARTY_NOTICES);
      return EXIT.clean;
    }
    case "completions":
      write(command.script);
      return EXIT.clean;
    case "check": {
      const { runCheck } = await import("./check/check.ts");
      return await runCheck(command, write);
    }
    case "view": {
      const { runViewFiles } = await import("./view/commands/view-files.ts");
      return await runViewFiles(command, write);
    }
    case "compare": {
      const { runCompare } = await import("./view/commands/compare-command.ts");
      return await runCompare(command, write);
    }
    case "export": {
      const { runExport } = await import("./view/commands/export-command.ts");
      runExport(command, write, warn);
      return EXIT.clean;
    }
    case "replay": {
      const { runReplay } = await import("./view/commands/replay-command.ts");
      return await runReplay(command, write, warn);
    }
    case "demo": {
      const { runDemo } = await import("./demo/demo.ts");
      return await runDemo(command, write);
    }
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  fail(error);
}
// Sockets and timers that still exist must not keep the process running.
process.exit();
