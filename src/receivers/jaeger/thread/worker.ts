/**
 * The thread that answers runtimes: its own event loop and its own heap, so that neither guests' work nor what becomes
 * of their spans makes a runtime wait. It only listens, decodes and hands on.
 */
import { parentPort, workerData } from "node:worker_threads";
import { describeError, levelsOf, type LogFields, type Logger } from "../../../base/log.ts";
import { HttpListenError } from "../../../http/listen-error.ts";
import { type JaegerServerSettings, LocalJaegerServer } from "../jaeger-server.ts";
import type { FromThread, PlainFields, ToThread } from "./messages.ts";
import { Outbox } from "./outbox.ts";

const port = parentPort;
if (port === null) throw new Error("this module is a worker thread's");

const post = (message: FromThread, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
const outbox = new Outbox(post);
const server = new LocalJaegerServer(outbox, postingLog(), workerData as JaegerServerSettings);

port.on("message", (message: ToThread) => {
  switch (message.type) {
    case "listen":
      server.listen(message.address).then(
        (bound) => post({ type: "listening", bound }),
        (error: unknown) => post(notListening(error)),
      );
      return;
    case "begin":
      return server.begin();
    case "taken":
      return outbox.taken(message.bytes);
    case "stop":
      return closeAfter(server.stop(message.timeoutMs));
    case "close":
      return closeAfter(server.close());
  }
});
post({ type: "started" });

function closeAfter(ended: Promise<void>): void {
  void ended.then(() => {
    outbox.flush();
    post({ type: "closed" });
  });
}

function notListening(error: unknown): FromThread {
  if (!(error instanceof HttpListenError)) throw error;
  const { code, message } = error.cause as NodeJS.ErrnoException;
  return { type: "not-listening", code, message };
}

/** A log whose records go into the forwarder's. */
function postingLog(): Logger {
  const levels = levelsOf((level, message, fields = {}) => {
    post({ type: "log", level, message, fields: plainFields(fields) });
  });
  const logger: Logger = { ...levels, of: () => logger };
  return logger;
}

function plainFields(fields: LogFields): PlainFields {
  const entries = Object.entries(fields);
  return Object.fromEntries(
    entries.map(([key, value]) => [key, value instanceof Error ? describeError(value) : value]),
  );
}
