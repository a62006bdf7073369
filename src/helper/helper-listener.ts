import { type Libc, loadLibc } from "../../ffi/libc.ts";
import { Admission } from "../receivers/vsock/admission.ts";
import { isUnixListenerName } from "../receivers/vsock/descriptor-names.ts";
import { GuestServer, type ListenerOptions } from "../receivers/vsock/guest-server.ts";
import { sandboxSource } from "../receivers/vsock/identity.ts";
import { type GuestConnection, type GuestReceiver, type Listener, ListenError } from "../receivers/vsock/listener.ts";
import { RetiredServers } from "../receivers/vsock/retired-servers.ts";
import { templateAddress, type TemplateSettings } from "../receivers/vsock/sandbox-template.ts";
import { loadStreamServers, type StreamServers } from "../receivers/vsock/stream-server.ts";
import type { HelperProcess } from "./helper-process.ts";
import { type HelperMessage, type HelperRequest, MAX_KEYS } from "./protocol.ts";

type Listening = HelperMessage & { readonly type: "listening" };

/** What the listener needs beside the helper. */
export interface HelperListenerOptions extends ListenerOptions {
  readonly templates: readonly TemplateSettings[];
  /** Called if the helper has ended, so that no sandbox that appears from now on can be served. */
  readonly onHelperEnded: () => void;
}

/** Guests of all sandboxes over hybrid vsock, whose sockets the helper process makes. */
export class HelperListener implements Listener {
  readonly address: string;
  readonly #helper: HelperProcess;
  readonly #options: HelperListenerOptions;
  readonly #retired: RetiredServers;
  readonly #servers = new Map<string, GuestServer>();
  /** Listening sockets of an earlier process that no sandbox has asked for yet. */
  readonly #left = new Map<string, number>();
  #accepting: { readonly libc: Libc; readonly servers: StreamServers; readonly accept: Accept } | undefined;
  #closing: Promise<void> | undefined;

  constructor(helper: HelperProcess, options: HelperListenerOptions) {
    this.#helper = helper;
    this.#options = options;
    this.#retired = new RetiredServers(options.onProblem);
    this.address = options.templates.map(templateAddress).join(", ");
  }

  async listen(accept: Accept): Promise<void> {
    const { templates, onProblem, onNotice, onHelperEnded } = this.#options;
    templates.forEach((template, index) => {
      const problem = this.#helper.problems[index];
      if (typeof problem === "string" && template.optional !== true) throw new ListenError(problem);
    });
    this.#accepting = { libc: await loadLibc(), servers: await loadStreamServers(), accept };
    this.#helper.observe({
      listening: (message, descriptor) => this.#serve(message, descriptor),
      retired: (key) => this.#retire(key),
      problem: onProblem,
      notice: (message, fields) => onNotice?.(message, fields),
      ended: onHelperEnded,
    });
  }

  /** Resolves when each sandbox that there is has its socket. */
  async begin(): Promise<void> {
    const { keeper } = this.#options;
    for (const key of keeper?.unclaimed ?? []) {
      if (!isUnixListenerName(key)) continue;
      const descriptor = keeper?.claim(key);
      if (descriptor === undefined) continue;
      this.#left.set(key, descriptor);
      keeper?.keep(key, key, () => descriptor);
    }
    this.#tellKeys("left", [...this.#left.keys()]);
    await this.#helper.ask({ type: "begin" });
    for (const [key, descriptor] of this.#left) {
      this.#options.onNotice?.("closing what an earlier process left and nothing uses any more", { name: key });
      keeper?.release(key);
      this.#accepting?.libc.close(descriptor);
    }
    this.#left.clear();
  }

  async settle(): Promise<void> {
    await this.#attempt(() => this.#helper.ask({ type: "pause" }));
  }

  async stopAccepting(): Promise<void> {
    this.cleanUp();
    // A socket's file is removed before the socket closes, because until then no other file can be taken for it.
    await this.#closing;
    await this.#retired.closeAll();
  }

  handOver(): void {
    const leaving: string[] = [];
    for (const [key, server] of this.#servers) if (server.handOver()) leaving.push(key);
    this.#tellKeys("leave", leaving);
    this.cleanUp();
  }

  cleanUp(): void {
    for (const server of this.#servers.values()) this.#retired.add(server);
    this.#servers.clear();
    this.#closing ??= this.#attempt(() => this.#helper.ask({ type: "close" })).finally(() => this.#helper.close());
  }

  #serve({ key, isLeft, sandbox, address, mode, gid, owner }: Listening, given: number | undefined): void {
    const { keeper, onProblem } = this.#options;
    const descriptor = isLeft ? this.#left.get(key) : given;
    this.#left.delete(key);
    if (descriptor === undefined || this.#accepting === undefined) return;
    const { libc, servers, accept } = this.#accepting;
    const source = sandboxSource(sandbox, address);
    const admission = new Admission({ mode, gid }, owner);
    const guests = new GuestServer(this.#options, () => source, (fd) => admission.refusal(libc, fd));
    try {
      const server = servers.adoption?.listener(descriptor, guests.handlers(accept));
      if (server === undefined) throw new Error("Deno cannot go on with another process's sockets");
      guests.start(server, key);
      this.#servers.set(key, guests);
    } catch (error) {
      keeper?.release(key);
      onProblem(`cannot listen for sandbox ${sandbox}`, error as Error);
    }
  }

  #retire(key: string): void {
    const server = this.#servers.get(key);
    if (server === undefined) return;
    this.#servers.delete(key);
    this.#retired.add(server);
  }

  #tellKeys(type: "left" | "leave", keys: readonly string[]): void {
    for (let at = 0; at < keys.length; at += MAX_KEYS) {
      this.#helper.tell({ type, keys: keys.slice(at, at + MAX_KEYS) } satisfies HelperRequest);
    }
  }

  async #attempt(ask: () => Promise<void>): Promise<void> {
    try {
      await ask();
    } catch (error) {
      this.#options.onProblem("sandboxes' sockets may be left behind", error as Error);
    }
  }
}

type Accept = (connection: GuestConnection) => GuestReceiver;
