import { loadLibc } from "../ffi/libc.ts";
import { ENCODINGS } from "./decode/payload-decoder.ts";
import type { DumpWriter } from "./exporters/dump-sink.ts";
import { helperListener, helperPeers, startHelper } from "./forwarder/open-helper.ts";
import { openPods } from "./forwarder/open-pods.ts";
import { type Forwarder, OWN_SPANS_MS, runningForwarder } from "./forwarder/running-forwarder.ts";
import { Delivery } from "./queue/delivery.ts";
import { openDump, prepareDelivery, processed } from "./forwarder/open-delivery.ts";
import type { Continuation, OnTakenOver } from "./continuation.ts";
import { TakeOverError } from "./host/handover/take-over.ts";
import { SHORT_TURNS } from "./receivers/accounts/turns.ts";
import { KnownSandboxes } from "./receivers/accounts/known-sandboxes.ts";
import type { HostReceiverOptions, HostReceivers } from "./receivers/host/host-receivers.ts";
import { DirectoryWatches } from "./receivers/vsock/directory-watches.ts";
import { createListener } from "./receivers/vsock/create-listener.ts";
import { DescriptorBudget, openFileLimit } from "./receivers/vsock/descriptor-budget.ts";
import type { ListenerOptions } from "./receivers/vsock/guest-server.ts";
import type { GuestConnection, GuestReceiver } from "./receivers/vsock/listener.ts";
import { type Logger, type RateLimit, rateLimited } from "./base/log.ts";
import { Metrics } from "./pipeline/metrics.ts";
import type { ReadFile } from "./exporters/connection/tls-credentials.ts";
import type { HelperProcess } from "./helper/helper-process.ts";
import { RootFiles } from "./helper/root-files.ts";
import { confine } from "./forwarder/confine.ts";
import { createExporter } from "./exporters/create-exporter.ts";
import { DescribedGuests } from "./receivers/vsock/described-guests.ts";
import { Receiver } from "./receivers/vsock/receiver.ts";
import { NO_SELF_TRACE, type SelfTrace } from "./pipeline/self-trace.ts";
import type { Settings } from "./pipeline/settings.ts";
import type { MetricsServer } from "./telemetry/metrics-server.ts";
import { openPrivileges } from "./host/privileges.ts";

/** The largest file with a certificate, a key or authorities, bytes: a whole store of the latter has some 250,000. */
const MAX_KEY_FILE_BYTES = 8 * 1024 * 1024;

/** The limit for all problems with listening together, because anyone who makes directories could fill the log. */
const LISTEN_LOG_LIMIT: RateLimit = { records: 20, key: () => "" };

/** What the forwarder needs from the process that it runs in. */
export interface ForwarderOptions {
  readonly log: Logger;
  /** Takes the records of `--dump-only`. Not needed for anything else. */
  readonly dump?: DumpWriter;
  /** How guests' connections survive the process. Default: they end with it. */
  readonly continuation?: Continuation;
  /** Whether the process gives up, for good, what it does not need after the start. Default: it does not. */
  readonly isConfined?: true;
  /** Called when another process takes over. */
  readonly onTakenOver?: OnTakenOver;
  /** Called if sandboxes that appear from now on cannot be served, although everything else goes on. */
  readonly onHelperEnded?: () => void;
  /** Called with the viewer's URL, once it serves its page. */
  readonly onViewer?: (url: string) => void;
}

/**
 * Starts the pipeline: guests → frames → OTLP spans → batches → the collector.
 *
 * First everything in the settings is opened and checked (key files, directories, the collector, the socket), as root
 * if the process is root. Then privileges are dropped, and only then are guests' bytes read. Rejects with a typed error
 * that says what is wrong and what to do. Nothing that listens is left behind in that case, except perhaps the socket's
 * file if the spool cannot be opened, because that happens after privileges were dropped.
 */
export async function startForwarder(
  settings: Settings,
  options: ForwarderOptions,
): Promise<Forwarder> {
  const undo: (() => void | Promise<void>)[] = [];
  try {
    return await start(settings, options, undo);
  } catch (error) {
    for (const step of undo.reverse()) await step();
    throw error;
  }
}

/** @param undo gets a function for each step, which takes it back. */
async function start(
  settings: Settings,
  { log, dump, continuation, isConfined, onTakenOver = () => {}, onHelperEnded = () => {}, onViewer }: ForwarderOptions,
  undo: (() => void | Promise<void>)[],
): Promise<Forwarder> {
  const metrics = new Metrics();
  // Their series exist from the start, although they are opened later.
  metrics.receiver("vsock", ENCODINGS);
  if (settings.forwards !== false) metrics.destination(settings.dumpOnly ? "dump" : "collector");
  if (settings.viewer !== undefined && !settings.dumpOnly) metrics.destination("store");
  let startingHelper: Promise<HelperProcess | undefined> = Promise.resolve(undefined);
  const readFile: ReadFile = async (path) => new RootFiles(await startingHelper).read(path, MAX_KEY_FILE_BYTES);
  const trace = await prepareSelfTrace(settings, log, readFile);
  undo.push(() => trace.stop(OWN_SPANS_MS));
  const privileges = await openPrivileges(settings.user, (message) => log.warn(message));
  // It starts while the collector is asked whether it is there, and whatever prevents it is thrown below.
  startingHelper = startHelper(settings, privileges.owner, log.of("helper"));
  startingHelper.catch(() => {});
  undo.push(async () => (await startingHelper.catch(() => undefined))?.close());
  const openSink = settings.dumpOnly ? () => openDump(settings, dump, metrics) : await prepareDelivery({
    settings,
    owner: privileges.owner,
    metrics,
    trace,
    log,
    readFile,
    hasGuests: continuation?.hasGuests === true,
    onViewer,
    undo,
  });
  const helper = await startingHelper;
  // Before anything that the running process has too: the metrics' port, the sockets, the spool.
  if (settings.takeOver !== undefined) {
    await takeOver(settings.takeOver, continuation, privileges.owner?.uid);
  }

  const sandboxes = new KnownSandboxes();
  const pods = openPods(settings, helper, log.of("pods"));
  const hosts = await trace.step(
    "listen to the host",
    () =>
      openHosts(settings, { metrics, sandboxes, lookup: pods, findPeer: helperPeers(helper, log.of("jaeger")), log }),
  );
  if (hosts !== undefined) undo.push(() => hosts.abort());

  let notReady: string | undefined = "starting";
  const server = await startMetrics(settings, metrics, log, () => notReady);
  if (server !== undefined) undo.push(() => server.close());

  const listenLog = rateLimited(log.of("listen"), LISTEN_LOG_LIMIT);
  const onProblem = (message: string, error?: Error): void => listenLog.warn(message, { error });
  const budget = new DescriptorBudget(openFileLimit(), onProblem);
  const { maxGuests } = settings.limits;
  if (budget.limit < maxGuests) {
    log.warn(
      "the limit of open files (LimitNOFILE=, ulimit -n) leaves fewer descriptors than --max-guests: " +
        "one guest can use them all up, and others then wait until it leaves",
      { descriptors: budget.limit, maxGuests },
    );
  }
  let writeJournal = (): void => {};
  const listenerOptions: ListenerOptions = {
    budget,
    onProblem,
    onNotice: (message, fields) => log.of("listen").info(message, fields),
    user: privileges.owner?.uid,
    watches: new DirectoryWatches(await loadLibc(), onProblem),
    ...(continuation && { keeper: continuation.keeper }),
    // Without a spool a killed process loses what it has processed too.
    reads: settings.queue.spool && continuation?.keepReads(() => writeJournal()),
  };
  const forTemplates = helper && helperListener(helper, settings, listenerOptions, () => {
    notReady = "the helper process has ended";
    log.error("the helper process has ended: sandboxes that appear from now on are not served until a restart");
    onHelperEnded();
  });
  const listener = createListener(settings.listen, listenerOptions, forTemplates);
  undo.push(() => {
    continuation?.abandon(listener);
    return listener.stopAccepting();
  });
  let receiver: Receiver | undefined = undefined;
  const accept = (connection: GuestConnection): GuestReceiver => {
    if (receiver === undefined) throw new Error("a guest was accepted before the start was done");
    return receiver.accept(connection);
  };
  const guests = pods === undefined ? undefined : new DescribedGuests(pods, accept);
  const acceptDescribed = guests?.accept ?? accept;
  await trace.step("listen", () => listener.listen(acceptDescribed));
  // Until there is a receiver nothing waits, so that no guest is accepted in between.
  trace.step("drop privileges", () => privileges.drop());
  if (isConfined) await confine(settings, log);
  const delivery = openSink();
  if (delivery instanceof Delivery) writeJournal = () => delivery.writeJournal();
  const { sink: processors, joinTraces } = processed(delivery, settings, metrics, log, hosts?.runningSandboxes);
  const sink = sandboxes.watch(processors);
  const turnLengths = hosts?.holdsRuntimesUp === true ? SHORT_TURNS : undefined;
  receiver = new Receiver(sink, settings.limits, metrics, log.of("receive"), trace, turnLengths);
  await listener.begin?.();
  hosts?.begin(sink);
  await continuation?.adoptGuests(listenerOptions, acceptDescribed);
  notReady = undefined;
  trace.started();
  log.info("listening", { address: listener.address });
  const parts = {
    settings,
    listener,
    listenLog,
    guests,
    receiver,
    hosts,
    sink,
    joinTraces,
    server,
    metrics,
    trace,
    log,
    continuation,
    onTakenOver,
  };
  return runningForwarder(parts, (why) => {
    notReady = why;
  });
}

/** @param path of the socket of the process to take over from, and of this one's socket for the next process. */
async function takeOver(
  path: string,
  continuation: Continuation | undefined,
  user: number | undefined,
): Promise<void> {
  if (continuation === undefined) {
    throw new TakeOverError(
      "--take-over: Deno cannot go on with another process's connections: run the executable, or with Bun",
    );
  }
  await continuation.takeOver(path, user);
  continuation.listen(path);
}

/** Begins the forwarder's own spans, before privileges are dropped, because their exporter reads key files too. */
async function prepareSelfTrace(settings: Settings, log: Logger, readFile: ReadFile): Promise<SelfTrace> {
  const { selfTrace, resourceAttributes, otlp } = settings;
  if (selfTrace === undefined) return NO_SELF_TRACE;
  const began = Date.now();
  // Loaded only here, so that only those who use the SDK pay for it.
  const { openSelfTrace } = await import("./telemetry/tracer.ts");
  const exporter = await createExporter(otlp, log.of("otlp"), { concurrency: 1, readFile });
  const own = { settings: selfTrace, resourceAttributes, exporter, began };
  return openSelfTrace({ ...own, log: log.of("self-trace") });
}

/** Opens the receivers of the host's own programs, if the settings name any. */
async function openHosts(settings: Settings, options: HostReceiverOptions): Promise<HostReceivers | undefined> {
  if (settings.jaeger === undefined && settings.otlpListen.length === 0) return undefined;
  // Loaded only here, because most forwarders have only guests.
  const { openHostReceivers } = await import("./receivers/host/host-receivers.ts");
  return await openHostReceivers(settings, options);
}

async function startMetrics(
  settings: Settings,
  metrics: Metrics,
  log: Logger,
  notReady: () => string | undefined,
): Promise<MetricsServer | undefined> {
  if (settings.metrics === undefined) return undefined;
  const { startMetricsServer } = await import("./telemetry/metrics-server.ts");
  const server = await startMetricsServer(settings.metrics, {
    metrics,
    capacities: { guests: settings.limits.maxGuests },
    notReady,
    log: log.of("metrics"),
  });
  log.info("serving metrics", { address: server.address });
  return server;
}
