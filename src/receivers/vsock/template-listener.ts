import process from "node:process";
import { loadLibc } from "../../../ffi/libc.ts";
import { DirectoryWatches } from "./directory-watches.ts";
import type { ListenerOptions } from "./guest-server.ts";
import type { GuestConnection, GuestReceiver, Listener } from "./listener.ts";
import { RetiredServers } from "./retired-servers.ts";
import { serveHere } from "./sandbox-server.ts";
import { SandboxTemplate, templateAddress, type TemplateSettings } from "./sandbox-template.ts";
import { loadStreamServers } from "./stream-server.ts";

/**
 * Guests of all sandboxes of one kind of hypervisor over hybrid vsock. {@link SandboxTemplate} makes a socket for each
 * of them, with the rights of this process, and {@link RetiredServers} finishes those of sandboxes that are gone.
 */
export class TemplateListener implements Listener {
  readonly address: string;
  readonly #settings: TemplateSettings;
  readonly #options: ListenerOptions;
  readonly #retired: RetiredServers;
  #template: SandboxTemplate | undefined;

  constructor(settings: TemplateSettings, options: ListenerOptions) {
    this.#settings = settings;
    this.#options = options;
    this.#retired = new RetiredServers(options.onProblem);
    this.address = templateAddress(settings);
  }

  /** Makes sure that it can listen. It starts to do so with {@link begin}. */
  async listen(accept: (connection: GuestConnection) => GuestReceiver): Promise<void> {
    const servers = await loadStreamServers();
    const libc = await loadLibc();
    const { user, watches, onProblem, onNotice, rescanMs } = this.#options;
    this.#template = new SandboxTemplate(this.#settings, {
      libc,
      watches: watches ?? new DirectoryWatches(libc, onProblem),
      serve: serveHere(libc, servers, this.#options, accept, this.#retired),
      user: user ?? process.geteuid?.() ?? 0,
      act: (operation) => operation(),
      onProblem,
      onNotice: onNotice ?? (() => {}),
      rescanMs,
    });
    const error = this.#template.open();
    if (error !== undefined && this.#settings.optional !== true) throw error;
  }

  begin(): void {
    this.#template?.begin();
  }

  async stopAccepting(): Promise<void> {
    this.cleanUp();
    await this.#retired.closeAll();
  }

  handOver(): void {
    this.#template?.handOver();
  }

  cleanUp(): void {
    this.#template?.close();
  }
}
