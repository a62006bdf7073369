import { performance } from "node:perf_hooks";
import { Worker } from "node:worker_threads";
import { isInExecutable } from "../../../base/in-executable.ts";
import type { Logger } from "../../../base/log.ts";
import { HttpListenError, type ListenAddress } from "../../../http/listen-error.ts";
import type { HttpConnection } from "../../../http/messages.ts";
import { EncodedSpans } from "../../../otlp/encoded-spans.ts";
import type { DroppedBatches, JaegerBatches } from "../endpoint.ts";
import type { JaegerServer, JaegerServerSettings } from "../jaeger-server.ts";
import type { FromThread, ToThread } from "./messages.ts";
import { sizeOf } from "./outbox.ts";

/** How long the thread may take to start, milliseconds: some 50 on an idle machine. */
const START_MS = 15_000;
/** How much longer than it may the thread's end is waited for, milliseconds. */
const CLOSE_MS = 1_000;
/** How much is taken before the thread is told of it, bytes: a part of what it may have sent without. */
const TELL_BYTES = 64 * 1024;

/** The module of the thread, and where it is in the executable, whose modules are all in one. */
const SOURCE = new URL("./worker.ts", import.meta.url);
const IN_EXECUTABLE = new URL("file:///$bunfs/root/receivers/jaeger/thread/worker.js");

/** What the main thread does with what comes from the other one. */
export interface ThreadReceiver extends JaegerBatches {
  /** Contents of batches that were dropped before they came here. */
  dropped(dropped: DroppedBatches): void;
}

/** Answers in a thread of its own, so that no guest's work makes a runtime wait. */
export class ThreadJaegerServer implements JaegerServer {
  readonly #worker: Worker;
  readonly #receiver: ThreadReceiver;
  readonly #log: Logger;
  readonly #connections = new Map<number, HttpConnection & { isOpen: boolean }>();
  readonly #spans = new EncodedSpans();
  readonly #started = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();
  #listening: PromiseWithResolvers<FromThread & { readonly type: "listening" | "not-listening" }> | undefined;
  #isStarted = false;
  #takenBytes = 0;

  private constructor(worker: Worker, receiver: ThreadReceiver, log: Logger) {
    this.#worker = worker;
    this.#receiver = receiver;
    this.#log = log;
    worker.on("message", (message: FromThread) => this.#receive(message));
    worker.on("error", (error: Error) => this.#failed(error));
  }

  /**
   * Starts the thread, which has to happen before privileges are dropped. Rejects if it cannot be had.
   *
   * @param module of the thread; for tests.
   */
  static async start(
    receiver: ThreadReceiver,
    log: Logger,
    settings: JaegerServerSettings,
    module: URL = isInExecutable(SOURCE) ? IN_EXECUTABLE : SOURCE,
  ): Promise<ThreadJaegerServer> {
    const worker = new Worker(module, { workerData: settings });
    const server = new ThreadJaegerServer(worker, receiver, log);
    const timer = setTimeout(
      () => server.#started.reject(new Error(`the thread did not start within ${START_MS} ms`)),
      START_MS,
    );
    try {
      await server.#started.promise;
    } catch (error) {
      void worker.terminate();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    server.#isStarted = true;
    return server;
  }

  async listen(address: ListenAddress): Promise<ListenAddress> {
    this.#listening = Promise.withResolvers();
    this.#tell({ type: "listen", address });
    const answer = await this.#listening.promise;
    if (answer.type === "listening") return answer.bound;
    const { code, message } = answer;
    throw new HttpListenError(address, Object.assign(new Error(message), code === undefined ? {} : { code }));
  }

  begin(): void {
    this.#tell({ type: "begin" });
  }

  async stop(timeoutMs: number): Promise<void> {
    this.#tell({ type: "stop", timeoutMs });
    await this.#end(timeoutMs);
  }

  async close(): Promise<void> {
    this.#tell({ type: "close" });
    await this.#end(0);
  }

  /** Waits until the thread has sent everything, and ends it. */
  async #end(timeoutMs: number): Promise<void> {
    const began = performance.now();
    const late = setTimeout(() => {
      const waited_ms = Math.round(performance.now() - began);
      this.#log.error("the thread that answers runtimes does not end: its spans are lost", { waited_ms });
      this.#closed.resolve();
    }, timeoutMs + CLOSE_MS);
    await this.#closed.promise;
    clearTimeout(late);
    await this.#worker.terminate();
  }

  #receive(message: FromThread): void {
    switch (message.type) {
      case "started":
        return this.#started.resolve();
      case "listening":
      case "not-listening":
        return this.#listening?.resolve(message);
      case "log":
        return this.#log.log(message.level, message.message, message.fields);
      case "closed":
        return this.#closed.resolve();
      default:
        this.#take(message);
        this.#takenBytes += sizeOf(message);
    }
    if (this.#takenBytes < TELL_BYTES) return;
    this.#tell({ type: "taken", bytes: this.#takenBytes });
    this.#takenBytes = 0;
  }

  #take(message: FromThread & { readonly type: "connected" | "disconnected" | "batch" | "dropped" | "invalid" }): void {
    const receiver = this.#receiver;
    switch (message.type) {
      case "connected": {
        const connection = { ...message.ends, isOpen: true };
        this.#connections.set(message.connection, connection);
        return receiver.connected(connection);
      }
      case "disconnected": {
        const connection = this.#connectionOf(message);
        connection.isOpen = false;
        this.#connections.delete(message.connection);
        return receiver.disconnected(connection);
      }
      case "batch": {
        this.#spans.unpack(message.spans);
        receiver.take(message.batch, this.#spans, message.bodyBytes, this.#connectionOf(message));
        return this.#spans.clear();
      }
      case "invalid":
        return receiver.invalid(message.reason, message.bodyBytes);
      case "dropped":
        return receiver.dropped(message);
    }
  }

  #connectionOf({ connection }: { readonly connection: number }): HttpConnection & { isOpen: boolean } {
    const known = this.#connections.get(connection);
    if (known === undefined) throw new Error(`the thread that answers runtimes has no connection ${connection}`);
    return known;
  }

  #tell(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #failed(error: Error): void {
    this.#started.reject(error);
    this.#listening?.reject(error);
    this.#closed.resolve();
    // Without privileges it cannot be started again everywhere. So the process ends, as for any defect.
    if (this.#isStarted) {
      setImmediate(() => {
        throw new Error("the thread that answers runtimes has failed", { cause: error });
      });
    }
  }
}
