import type { Logger } from "../../base/log.ts";
import { HttpListenError, type ListenAddress, shownAddress } from "../../http/listen-error.ts";
import { HttpServer } from "../../http/server.ts";
import type { TlsCredentials } from "../../http/tls.ts";
import type { Metrics } from "../../pipeline/metrics.ts";
import type { JaegerSettings, Settings, TcpListenSettings } from "../../pipeline/settings.ts";
import type { SandboxLookup } from "../../pipeline/sandbox-lookup.ts";
import type { SpanSink } from "../../pipeline/sink.ts";
import type { KnownSandboxes } from "../accounts/known-sandboxes.ts";
import type { PeerWaits } from "../jaeger/peer-sandboxes.ts";
import { JaegerReceiver } from "../jaeger/jaeger-receiver.ts";
import { type JaegerServer, type JaegerServerSettings, LocalJaegerServer } from "../jaeger/jaeger-server.ts";
import { ThreadJaegerServer } from "../jaeger/thread/thread-server.ts";
import { OTLP_HTTP2, OTLP_LIMITS, OtlpReceiver } from "../otlp/otlp-receiver.ts";
import { StepQueue } from "../otlp/step-queue.ts";
import { type FindPeer, PeerFinder } from "../peers/peer-finder.ts";
import { portOwner } from "../peers/port-owner.ts";
import { readFirstLine, readTlsCredentials } from "./credential-files.ts";
import { HostReceiverError } from "./host-receiver-error.ts";
import { isOwnEndpoint } from "./own-endpoint.ts";

/** How long runtimes' first spans wait at most until it is known whose they are. */
const WAITS: PeerWaits = {
  // In a sandbox's start a Go shim names it within a few tens of milliseconds.
  nameMs: 1_000,
  // The Rust runtime sends every 5 s, and the guest connects as soon as its agent runs.
  serviceMs: 10_000,
};

/** What the receivers work with. */
export interface HostReceiverOptions {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly sandboxes: KnownSandboxes;
  /** What the host knows of sandboxes besides their IDs; undefined: nothing. */
  readonly lookup?: SandboxLookup | undefined;
  /** Finds whose shim is at the other end of a connection. Default: by what this process may see. */
  readonly findPeer?: FindPeer | undefined;
  /** The module of the thread that answers runtimes; for tests. */
  readonly jaegerThread?: URL;
}

/** A server that a receiver answers through. */
type Server = Pick<HttpServer, "listen" | "stop" | "close">;

/** A receiver whose server listens. */
interface OpenReceiver {
  readonly server: Server;
  readonly begin: (sink: SpanSink) => void;
  readonly close: () => void;
}

/** The receivers of the host's own programs. */
export interface HostReceivers {
  /** Begins to answer. */
  begin(sink: SpanSink): void;
  /** Whether runtimes wait for this thread while a sandbox starts, so that it must be quick. */
  readonly holdsRuntimesUp: boolean;
  /** The sandboxes whose shims are known to run. Never rejects. */
  readonly runningSandboxes: () => Promise<ReadonlySet<string>>;
  /** Accepts nothing more, answers what has come, and hands it on. Takes `timeoutMs` at most. */
  stop(timeoutMs: number): Promise<void>;
  /** Ends at once. What has been answered is handed on. */
  abort(): Promise<void>;
}

/**
 * Opens the receivers that the settings name: reads the files they need, and listens. To be called while the process
 * may still read them. Rejects with a {@link HostReceiverError}; none is left open then.
 */
export async function openHostReceivers(settings: Settings, options: HostReceiverOptions): Promise<HostReceivers> {
  const opening = new Opening(settings, options);
  try {
    await opening.open();
  } catch (error) {
    await opening.close();
    throw error;
  }
  return opening.receivers();
}

class Opening {
  readonly #settings: Settings;
  readonly #options: HostReceiverOptions;
  readonly #open: OpenReceiver[] = [];
  readonly #steps = new StepQueue();
  #tls: TlsCredentials | undefined;
  #finder: PeerFinder | undefined;
  #holdsRuntimesUp = false;

  constructor(settings: Settings, options: HostReceiverOptions) {
    this.#settings = settings;
    this.#options = options;
  }

  async open(): Promise<void> {
    const { jaeger, listenTls } = this.#settings;
    this.#tls = listenTls === undefined ? undefined : readTlsCredentials(listenTls);
    if (jaeger !== undefined) await this.#openJaeger(jaeger);
    for (const listen of this.#settings.otlpListen) await this.#openOtlp(listen);
  }

  async close(): Promise<void> {
    await Promise.all(this.#open.map(({ server }) => server.close()));
    for (const receiver of this.#open) receiver.close();
  }

  receivers(): HostReceivers {
    return {
      begin: (sink) => {
        for (const receiver of this.#open) receiver.begin(sink);
      },
      holdsRuntimesUp: this.#holdsRuntimesUp,
      runningSandboxes: async () => await this.#finder?.runningSandboxes() ?? new Set(),
      stop: async (timeoutMs) => {
        await Promise.all(this.#open.map(async ({ server, close }) => {
          await server.stop(timeoutMs);
          close();
        }));
      },
      abort: () => this.close(),
    };
  }

  async #openJaeger({ listen, credentials, keepHttp2Noise }: JaegerSettings): Promise<void> {
    const { metrics, sandboxes, lookup, findPeer } = this.#options;
    const log = this.#options.log.of("jaeger");
    let wasForbidden = false;
    const finder = this.#finder = new PeerFinder(() => {
      if (!wasForbidden) log.debug("runtimes' processes cannot be looked into, so they do not tell their sandbox");
      wasForbidden = true;
    });
    const receiver = new JaegerReceiver({
      metrics,
      log,
      sandboxes,
      lookup,
      waits: WAITS,
      runningSandboxes: () => finder.runningSandboxes(),
      findPeer: findPeer ?? ((connection) => finder.find(connection)),
    });
    const server = await this.#startJaeger(receiver, log, {
      keepHttp2Noise,
      ...this.#tls && { tls: this.#tls },
      ...credentials !== undefined && {
        credentials: {
          user: credentials.user,
          password: readFirstLine("--jaeger-password-file", credentials.passwordFile),
        },
      },
    });
    if (!await this.#listen("--jaeger-listen", listen, server, log)) return;
    const begin = (sink: SpanSink): void => {
      receiver.begin(sink);
      server.begin();
    };
    this.#open.push({ server, begin, close: () => receiver.close() });
  }

  async #startJaeger(receiver: JaegerReceiver, log: Logger, settings: JaegerServerSettings): Promise<JaegerServer> {
    try {
      return await ThreadJaegerServer.start(receiver, log, settings, this.#options.jaegerThread);
    } catch (error) {
      log.warn("no thread can be started to answer runtimes, so they wait longer while guests send much", {
        error: error as Error,
      });
      this.#holdsRuntimesUp = true;
      return new LocalJaegerServer(receiver, log, settings);
    }
  }

  async #openOtlp(listen: TcpListenSettings): Promise<void> {
    const log = this.#options.log.of("otlp-receiver");
    const receiver = new OtlpReceiver({ metrics: this.#options.metrics, log }, this.#steps);
    const server = new HttpServer({
      handler: receiver,
      limits: OTLP_LIMITS,
      http2: OTLP_HTTP2,
      ...this.#tls && { tls: this.#tls },
      onError: (error, path) => log.error("a program's request failed", { path, error }),
    });
    if (!await this.#listen("--otlp-listen", listen, server, log)) return;
    this.#open.push({ server, begin: (sink) => receiver.begin(sink), close: () => receiver.close() });
  }

  /** Returns false if an address that is optional cannot be had, which is logged. The server is closed then. */
  async #listen(option: string, address: TcpListenSettings, server: Server, log: Logger): Promise<boolean> {
    let isOpen = false;
    try {
      isOpen = await this.#tryToListen(option, address, server, log);
    } finally {
      if (!isOpen) await server.close();
    }
    return isOpen;
  }

  async #tryToListen(option: string, address: TcpListenSettings, server: Server, log: Logger): Promise<boolean> {
    let bound: ListenAddress;
    try {
      bound = await server.listen(address);
    } catch (error) {
      if (!(error instanceof HttpListenError)) throw error;
      const problem = `${option} ${describe(error, address)}`;
      if (address.optional === undefined || !error.isInUse) throw new HostReceiverError(problem, { cause: error });
      log.warn(problem);
      return false;
    }
    if (await this.#isOwnEndpoint(bound)) {
      const problem = `${option} ${shownAddress(bound)}: the collector's address, ${this.#settings.otlp.url}, leads ` +
        "there, so the forwarder would send to itself: give the collector another address, or the receiver";
      if (address.optional === undefined) throw new HostReceiverError(problem);
      log.warn(`not listening at ${shownAddress(bound)}, because the collector is expected there (--otlp-endpoint)`);
      return false;
    }
    log.info("listening to the host", { option, address: shownAddress(bound), tls: this.#tls !== undefined });
    return true;
  }

  async #isOwnEndpoint(bound: ListenAddress): Promise<boolean> {
    const { dumpOnly, forwards, otlp } = this.#settings;
    return !dumpOnly && forwards !== false && await isOwnEndpoint(otlp.url, bound);
  }
}

/** Why the receiver cannot listen at an address, with the program that has it. */
function describe(error: HttpListenError, address: TcpListenSettings): string {
  const owner = error.isInUse ? portOwner(address.port) : undefined;
  if (owner === undefined) return error.message;
  return `${
    shownAddress(address)
  }: ${owner.name} (process ${owner.pid}) listens there: stop it, or choose another port`;
}
