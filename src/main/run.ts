import process from "node:process";
import { loadLibc } from "../../ffi/libc.ts";
import { LineWriter } from "../base/line-writer.ts";
import { createLogger, describeError, type Logger } from "../base/log.ts";
import { COMMIT } from "../base/version.ts";
import { Continuation, isRestartedAtItsEnd } from "../continuation.ts";
import { DumpOutput } from "../exporters/dump-output.ts";
import { startForwarder } from "../forwarder.ts";
import type { Forwarder } from "../forwarder/running-forwarder.ts";
import { DescriptorStore } from "../host/handover/descriptor-store.ts";
import { inheritDescriptors } from "../host/handover/inherit-descriptors.ts";
import { isIgnored } from "../host/ignored-signals.ts";
import { nonBlocking } from "../host/non-blocking.ts";
import { connectServiceManager, type ServiceManager } from "../host/service-manager.ts";
import type { Settings } from "../pipeline/settings.ts";
import { EXIT } from "./exit-codes.ts";
import { LOG_WAIT_MS, STDERR, STDOUT, warn } from "./standard-error.ts";

/** How long the end waits for the service manager to store what is left for the next process, milliseconds. */
const LEAVE_WAIT_MS = 1000;

function loggerFor({ log, dumpOnly }: Settings): Logger {
  // With --dump-only spans are on standard output.
  const stream = dumpOnly ? process.stderr : process.stdout;
  const fd = nonBlocking(dumpOnly ? STDERR : STDOUT);
  const { write } = new LineWriter(fd, { maxWaitMs: LOG_WAIT_MS });
  const noColour = process.env["NO_COLOR"];
  const colour = stream.isTTY && (noColour === undefined || noColour === "");
  return createLogger({ ...log, colour, write });
}

/**
 * Runs the forwarder until a signal or a failure ends it. Resolves with the exit code.
 *
 * @param tellsUrl whether the last line of the start is for a person, who wants to open the viewer's page.
 */
export async function run(settings: Settings, tellsUrl = false): Promise<number> {
  const log = loggerFor(settings);
  log.info("announce", { "commit-version": COMMIT });
  const manager = await connectServiceManager(process.env, log);
  const continuation = await openContinuation(manager, log);
  const ended = Promise.withResolvers<number>();
  let forwarder: Forwarder | undefined;
  let url = "";
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
      warn(describeError(error));
      process.exit(EXIT.failedStart);
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
      onViewer: (served) => url = served,
      ...(continuation && { continuation }),
      onHelperEnded: () => {
        // If there is nothing to lose, a restart is better than going on without new sandboxes.
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
  if (tellsUrl) tellUrl(url);

  const lost = await ended.promise;
  if (!await manager.flushed(LEAVE_WAIT_MS)) {
    log.warn("the service manager has not taken everything that was to be left to the next process");
  }
  manager.close();
  log.info("stopped", { lost });
  return lost > 0 || broken ? EXIT.lost : EXIT.clean;
}

function tellUrl(url: string): void {
  const lines = [`Open ${url}`, "Sandboxes that start from now on appear there. Ctrl-C ends it."];
  new LineWriter(STDOUT, { maxWaitMs: LOG_WAIT_MS }).write(`${lines.join("\n")}\n`);
}

/** What an earlier process has left, and what this one leaves; undefined if this runtime cannot use it. */
async function openContinuation(manager: ServiceManager, log: Logger): Promise<Continuation | undefined> {
  const store = new DescriptorStore(manager, log.of("hand-over"));
  const continuation = await Continuation.open(store, log.of("hand-over"));
  if (continuation === undefined && manager.descriptorPlaces > 0) {
    log.warn("Deno cannot go on with connections of an earlier process: a restart ends them; with Bun it does not");
  }
  if (continuation !== undefined && process.env["LISTEN_FDS"] !== undefined) {
    store.inherit(inheritDescriptors(await loadLibc(), process.env, process.pid), true);
  }
  return continuation;
}
