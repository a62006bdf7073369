import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { errnoName } from "../../ffi/errors.ts";
import { type Libc, loadLibc } from "../../ffi/libc.ts";
import { AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_SEQPACKET } from "../../ffi/sockets.ts";
import type { Logger } from "../base/log.ts";
import { ownCommand } from "../base/own-command.ts";
import { boundCapabilities, CAP_SYS_PTRACE, HELPER_CAPABILITIES } from "../host/capabilities.ts";
import type { LocalConnection } from "../receivers/peers/socket-table.ts";
import { HelperError } from "./helper-error.ts";
import { receivePackets, sendPacket } from "./packets.ts";
import { inTime, PendingAnswers } from "./pending-answers.ts";
import { HELPER_VARIABLE, type HelperMessage, type HelperRequest, type HelperSettings } from "./protocol.ts";

/** How long the helper may take to start, milliseconds: some 50 on an idle machine. */
const START_MS = 15_000;
/** How soon a request is sent again if the helper has too many to read, milliseconds. */
const RETRY_MS = 2;
/** What is written to a pipe so that the helper reads its socket. */
const BELL = "\n";

/** What the helper says about sockets. A descriptor belongs to the callee. */
export interface HelperObserver {
  listening(message: HelperMessage & { readonly type: "listening" }, descriptor: number | undefined): void;
  retired(key: string): void;
  problem(message: string, error: Error): void;
  notice(message: string, fields: Readonly<Record<string, string>>): void;
  /** It has ended, and cannot be started again, because privileges have been dropped. */
  ended(): void;
}

type Answer = "begun" | "paused" | "closed";

/**
 * The forwarder's end of its helper: a process of the same program that retains what is needed of root's privileges,
 * so that the one that reads guests' bytes has none.
 */
export class HelperProcess {
  readonly #libc: Libc;
  readonly #socket: number;
  readonly #child: ChildProcess;
  /** Whether it was started to say whose shim has connected. */
  readonly findsPeers: boolean;
  readonly #answers = new Map<Answer, PromiseWithResolvers<void>>();
  readonly #files = new PendingAnswers<number>();
  readonly #lists = new PendingAnswers<readonly string[]>();
  readonly #peers = new PendingAnswers<string | undefined>();
  readonly #started = Promise.withResolvers<readonly (string | null)[]>();
  #unsent: Promise<void> = Promise.resolve();
  #isExpectedToEnd = false;
  /** Why it is not there any more. */
  #ended: HelperError | undefined;
  #observer: HelperObserver | undefined;
  /** What the helper said before somebody observed it. */
  readonly #early: ((observer: HelperObserver) => void)[] = [];
  #problems: readonly (string | null)[] = [];

  private constructor(libc: Libc, socket: number, child: ChildProcess, { findsPeers }: HelperSettings) {
    this.#libc = libc;
    this.#socket = socket;
    this.#child = child;
    this.findsPeers = findsPeers;
    child.stdout?.on("data", () => this.#read());
    // A pipe that breaks is reported by "exit" as well.
    child.stdin?.on("error", () => {});
    child.once("error", (error) => this.#end(`it cannot be run: ${error.message}`));
    child.once("exit", (code, signal) => {
      this.#read();
      this.#end(`it has ended with ${signal ?? code}`);
    });
  }

  /**
   * Starts it, as root. Resolves when it works; rejects with a {@link HelperError}.
   *
   * @param log gets how much memory it takes.
   */
  static async start(settings: HelperSettings, log: Logger): Promise<HelperProcess> {
    const libc = await loadLibc();
    const [own, other] = libc.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    let child: ChildProcess;
    try {
      boundCapabilities(libc, HELPER_CAPABILITIES | (settings.findsPeers ? CAP_SYS_PTRACE : 0n));
      const [program = "", ...words] = ownCommand();
      child = spawn(program, words, {
        stdio: ["pipe", "pipe", "inherit", other],
        cwd: "/",
        // Nothing else of the environment, which may hold secrets.
        env: { [HELPER_VARIABLE]: JSON.stringify(settings) },
      });
    } catch (error) {
      libc.close(own);
      throw new HelperError("the helper that makes sandboxes' sockets cannot be started", { cause: error });
    } finally {
      libc.close(other);
    }
    const helper = new HelperProcess(libc, own, child, settings);
    await helper.#waitForStart();
    log.info("a helper process retains what is needed of root's rights", {
      helper: child.pid ?? 0,
      memory_bytes: memoryOf(child.pid ?? 0),
    });
    return helper;
  }

  /** Why each of the templates cannot be watched, if it cannot. */
  get problems(): readonly (string | null)[] {
    return this.#problems;
  }

  /** From now on, what the helper says is passed on. */
  observe(observer: HelperObserver): void {
    this.#observer = observer;
    for (const tell of this.#early.splice(0)) tell(observer);
  }

  /** Sends a request that has no answer. */
  tell(request: HelperRequest): void {
    // In order, also if the helper does not read for a while.
    this.#unsent = this.#unsent.then(() => this.#send(request)).catch(() => {});
  }

  /** Sends a request, and resolves with its answer. Rejects with a {@link HelperError}. */
  async ask(request: HelperRequest & { readonly type: "begin" | "pause" | "close" }): Promise<void> {
    const name = ({ begin: "begun", pause: "paused", close: "closed" } as const)[request.type];
    if (this.#ended !== undefined) throw this.#ended;
    const answer = this.#answers.get(name) ?? Promise.withResolvers<void>();
    this.#answers.set(name, answer);
    if (request.type === "close") this.#isExpectedToEnd = true;
    this.tell(request);
    await inTime(answer.promise);
  }

  /**
   * Opens a file that only root may read, if the settings name it. Resolves with its descriptor, which belongs to the
   * caller. Rejects with a {@link HelperError}.
   */
  async open(path: string): Promise<number> {
    if (this.#ended !== undefined) throw this.#ended;
    return await this.#files.ask((id) => this.tell({ type: "open", id, path }));
  }

  /**
   * Lists the first names in a directory that begin with a prefix, if the settings name files below it. Rejects with a
   * {@link HelperError}.
   */
  async list(path: string, prefix: string): Promise<readonly string[]> {
    if (this.#ended !== undefined) throw this.#ended;
    return await this.#lists.ask((id) => this.tell({ type: "list", id, path, prefix }));
  }

  /**
   * Finds the sandbox whose shim is at the other end of a loopback connection, if the settings ask for that. Undefined
   * if it is not a shim's, or was not found. Rejects with a {@link HelperError}.
   */
  async findPeer(connection: LocalConnection): Promise<string | undefined> {
    if (this.#ended !== undefined) throw this.#ended;
    return await this.#peers.ask((id) => this.tell({ type: "peer", id, connection }));
  }

  /** Ends it. Sockets stay as they are. */
  close(): void {
    this.#isExpectedToEnd = true;
    this.#child.stdin?.end();
  }

  async #waitForStart(): Promise<void> {
    try {
      this.#problems = await inTime(this.#started.promise, START_MS);
    } catch (error) {
      this.#isExpectedToEnd = true;
      this.#child.kill("SIGKILL");
      throw error;
    }
  }

  async #send(request: HelperRequest): Promise<void> {
    for (;;) {
      try {
        sendPacket(this.#libc, this.#socket, request, undefined, MSG_DONTWAIT);
        break;
      } catch (error) {
        if (errnoName(error) !== "EAGAIN") throw error;
      }
      await sleep(RETRY_MS);
    }
    this.#child.stdin?.write(BELL);
  }

  #read(): void {
    try {
      for (const { text, descriptor } of receivePackets(this.#libc, this.#socket)) {
        this.#take(JSON.parse(text) as HelperMessage, descriptor);
      }
    } catch (error) {
      // Its end is reported by "exit".
      if (errnoName(error) !== "ECONNRESET") throw error;
    }
  }

  #take(message: HelperMessage, descriptor: number | undefined): void {
    switch (message.type) {
      case "started":
        return this.#started.resolve(message.problems);
      case "failed":
        return this.#started.reject(new HelperError(`the helper process cannot be started: ${message.error}`));
      case "listening":
        return this.#tell((observer) => observer.listening(message, descriptor));
      case "retired":
        return this.#tell((observer) => observer.retired(message.key));
      case "problem":
        return this.#tell((observer) => observer.problem(message.message, new Error(message.error)));
      case "notice":
        return this.#tell((observer) => observer.notice(message.message, message.fields));
      case "file":
        if (descriptor === undefined) {
          this.#files.fail(message.id, new HelperError(message.error ?? "no file came", message));
        } else if (!this.#files.settle(message.id, descriptor)) this.#libc.close(descriptor);
        return;
      case "names":
        if (message.error === undefined) this.#lists.settle(message.id, message.names);
        else this.#lists.fail(message.id, new HelperError(message.error, message));
        return;
      case "peer":
        this.#peers.settle(message.id, message.sandbox);
        return;
      default:
        this.#answers.get(message.type)?.resolve();
        this.#answers.delete(message.type);
    }
  }

  #tell(tell: (observer: HelperObserver) => void): void {
    if (this.#observer === undefined) this.#early.push(tell);
    else tell(this.#observer);
  }

  #end(how: string): void {
    const error = this.#ended ??= new HelperError(`the helper process is not there: ${how}`);
    this.#started.reject(error);
    for (const { reject } of this.#answers.values()) reject(error);
    this.#answers.clear();
    for (const pending of [this.#files, this.#lists, this.#peers]) pending.failAll(error);
    if (!this.#isExpectedToEnd) this.#tell((observer) => observer.ended());
    this.#isExpectedToEnd = true;
  }
}

/** A process's share of the machine's memory, bytes: proportional set size, proc_pid_smaps(5). Undefined if unknown. */
function memoryOf(pid: number): number | undefined {
  try {
    const kibibytes = /^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1];
    return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
  } catch {
    // A kernel without it, or a container that forbids it. It is only for the log.
    return undefined;
  }
}
