import type { GuestLimits, ListenSettings, SelfTraceSettings, Settings } from "../pipeline/settings.ts";
import type { TraceContext } from "../pipeline/trace-context.ts";
import { otlpSettings } from "./endpoint.ts";
import { hostSettings } from "./host-settings.ts";
import type { Resolved } from "./resolve.ts";
import { KATA_SOCKET_PATHS, LONGEST_SOCKET_PATH, type SocketPath, socketPath } from "./socket-path.ts";
import type { OPTIONS } from "./table.ts";
import { traceparent } from "./traceparent.ts";
import { quoted, showBytes, UsageError } from "./values.ts";
import { DEFAULT_STORE_BYTES } from "./view-table.ts";

/**
 * A batch's size, bytes of encoded request: a quarter of what gRPC servers accept by default, as requests are also
 * compressed and copied whole.
 */
const BATCH_BYTES = 1024 * 1024;

/**
 * The longest that a span may wait for others, whatever the environment says (the SDKs' own default is 5,000),
 * milliseconds.
 */
const LONGEST_BATCH_DELAY_MS = 200;

/** The `service.name` if none is given. */
const DEFAULT_TRACE_NAME = "kata-agent";

/** The resource attribute that `--label` becomes, so that cohorts can be told apart wherever spans have gone. */
const LABEL_ATTRIBUTE = "kata.label";

/** VMADDR_PORT_ANY: a socket bound to it listens on a port that no agent knows (linux/vm_sockets.h). */
const VMADDR_PORT_ANY = 2 ** 32 - 1;

/** Makes the settings from checked options. Throws a `UsageError` if two of them contradict each other. */
export function settingsFrom(options: Resolved<typeof OPTIONS>): Settings {
  const attributes = new Map(options.resourceAttributes?.value);
  const serviceName = attributes.get("service.name");
  attributes.delete("service.name");
  if (options.label !== undefined) attributes.set(LABEL_ATTRIBUTE, options.label.value);
  return {
    listen: listenSettings(options),
    ...hostSettings(options),
    otlp: otlpSettings(options.otlpEndpoint, options.otlpProtocol, options.otlpInsecure),
    traceName: options.traceName?.value ?? (serviceName || DEFAULT_TRACE_NAME),
    resourceAttributes: attributes,
    waitForCollector: options.waitForCollector?.value ?? false,
    dumpOnly: options.dumpOnly?.value ?? false,
    dumpFormat: options.dumpFormat?.value ?? options.logFormat.value,
    ...(options.user && { user: options.user.value }),
    ...takeOverSettings(options),
    log: { level: options.logLevel.value, format: options.logFormat.value },
    batch: {
      maxSpans: options.batchSpans.value,
      maxBytes: BATCH_BYTES,
      maxDelayMs: Math.min(options.batchDelay.value, LONGEST_BATCH_DELAY_MS),
    },
    queue: {
      maxBytes: options.queueBytes.value,
      whenFull: options.whenFull.value,
      ...(options.spoolDir && {
        spool: { directory: options.spoolDir.value, maxBytes: options.spoolBytes.value },
      }),
      ...(options.deadLetter && { deadLetterFile: options.deadLetter.value }),
    },
    limits: guestLimits(options),
    shutdownTimeoutMs: options.shutdownTimeout.value,
    ...(options.metrics && { metrics: options.metrics.value }),
    ...(options.redact && { redact: options.redact.value }),
    kubernetesMetadata: options.kubernetesMetadata.value,
    ...(options.joinTraces?.value && { joinTraces: true }),
    ...(options.record && { record: { file: options.record.value, maxBytes: options.recordBytes.value } }),
    ...(options.maxAttributeBytes && { maxAttributeBytes: options.maxAttributeBytes.value }),
    ...(options.view && { viewer: viewerSettings(options) }),
    ...selfTraceSettings(options),
    ...(options.linkTraceparent?.value && { rootLink: rootLink(options) }),
  };
}

function takeOverSettings({ takeOver }: Resolved<typeof OPTIONS>): { takeOver?: string } {
  if (takeOver === undefined) return {};
  checkLength(takeOver.name, takeOver.value);
  return { takeOver: takeOver.value };
}

function selfTraceSettings(
  { traceSelf, sdkDisabled, dumpOnly, traceparent: given }: Resolved<typeof OPTIONS>,
): { selfTrace?: SelfTraceSettings } {
  // Own spans go to the collector, and with --dump-only there is none.
  if (!traceSelf?.value || sdkDisabled?.value || dumpOnly?.value) return {};
  if (given === undefined) return { selfTrace: {} };
  try {
    return { selfTrace: { parent: traceparent(given.value) } };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    // In that case a new trace begins: https://www.w3.org/TR/trace-context/#traceparent-header-field-values
    return { selfTrace: { parentProblem: `${given.name}: ${error.message}` } };
  }
}

function rootLink(
  { linkTraceparent, traceparent: given }: Resolved<typeof OPTIONS>,
): TraceContext {
  if (given === undefined) {
    throw new UsageError(
      `TRACEPARENT: neither it nor TRACECONTEXT is set, and ${linkTraceparent?.name} needs a context to link to`,
    );
  }
  try {
    return traceparent(given.value);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${given.name}: ${error.message}`, { cause: error });
  }
}

/**
 * It listens on AF_VSOCK if a CID is given, if all hypervisors are asked for, or if no socket path is given. A kernel
 * without it is an error unless something else is listened to as well. A socket path that is given twice counts once.
 */
function listenSettings(options: Resolved<typeof OPTIONS>): Settings["listen"] {
  const { vsockCid, vsockPort } = options;
  const port = vsockPort.value;
  const all = options.allHypervisors?.value === true || options.allSources?.value === true;
  const hasHostReceiver = options.jaegerListen !== undefined || options.otlpListen !== undefined;
  const hybrid = hybridSettings(options, all);
  const [first, ...others] = hybrid;
  if (first !== undefined && vsockCid.source === "default" && !all) return [first, ...others];
  if (port === VMADDR_PORT_ANY) {
    throw new UsageError(
      `${vsockPort.name}: ${port} means any port: give the one that agents connect to`,
    );
  }
  const vsock: ListenSettings = {
    kind: "vsock",
    cid: vsockCid.value,
    port,
    ...((all || hasHostReceiver) && vsockCid.source === "default" && { optional: true }),
  };
  return [vsock, ...hybrid];
}

function hybridSettings(
  { socketPath: given, socketMode, socketGroup, vsockPort }: Resolved<typeof OPTIONS>,
  all: boolean,
): ListenSettings[] {
  const common = {
    port: vsockPort.value,
    mode: socketMode.value,
    ...(socketGroup && { group: socketGroup.value }),
  };
  const paths = new Map<string, SocketPath>();
  for (const path of given?.value ?? []) paths.set(JSON.stringify(path), path);
  const givenCount = paths.size;
  for (const path of all ? KATA_SOCKET_PATHS.map(socketPath) : []) {
    const key = JSON.stringify(path);
    if (!paths.has(key)) paths.set(key, path);
  }
  const directories = [...paths.values()].flatMap((path) => path.kind === "template" ? [path.directory] : []);
  return [...paths.values()].map((path, index): ListenSettings => {
    if (path.kind === "path") {
      checkLength(given?.name ?? "", `${path.path}_${common.port}`);
      return { kind: "hybrid", socketPath: path.path, ...common };
    }
    const optional = index >= givenCount && { optional: true as const };
    const except = namesBelow(path.directory, directories);
    return { ...path, ...common, ...(except.length > 0 && { except }), ...optional };
  });
}

/** The names in a directory that lead to some of the others. */
function namesBelow(directory: string, others: readonly string[]): string[] {
  const prefix = directory === "/" ? "/" : `${directory}/`;
  const below = others.filter((other) => other.startsWith(prefix) && other !== directory);
  return [...new Set(below.map((other) => other.slice(prefix.length).split("/")[0] as string))];
}

function checkLength(option: string, listening: string): void {
  const length = new TextEncoder().encode(listening).length;
  if (length > LONGEST_SOCKET_PATH) {
    throw new UsageError(
      `${option}: ${quoted(listening)} is ${length} bytes long, ` +
        `but a UNIX socket's path may have at most ${LONGEST_SOCKET_PATH}: give a shorter path`,
    );
  }
}

function guestLimits(options: Resolved<typeof OPTIONS>): GuestLimits {
  // Each must fit into the next one, or what it allows could never happen.
  const nested = [
    options.maxFrameBytes,
    options.maxGuestBytes,
    options.maxTotalGuestBytes,
  ] as const;
  for (const [inner, outer] of [[nested[0], nested[1]], [nested[1], nested[2]]] as const) {
    if (inner.value > outer.value) {
      throw new UsageError(
        `${inner.name} (${showBytes(inner.value)}) must not be more than ` +
          `${outer.name} (${showBytes(outer.value)})`,
      );
    }
  }
  return {
    maxFrameBytes: options.maxFrameBytes.value,
    frameTimeoutMs: options.frameTimeout.value,
    idleTimeoutMs: options.idleTimeout.value,
    maxGuestBytes: options.maxGuestBytes.value,
    maxTotalGuestBytes: options.maxTotalGuestBytes.value,
    maxGuests: options.maxGuests.value,
    maxSpansPerSecond: options.maxSpansPerSecond.value,
  };
}

/** The viewer's settings. */
export function viewerSettings(
  { view, store, storeBytes, storeKeep, label }: Pick<
    Resolved<typeof OPTIONS>,
    "view" | "store" | "storeBytes" | "storeKeep" | "label"
  >,
): NonNullable<Settings["viewer"]> {
  return {
    ...(view !== undefined && { address: view.value }),
    ...(store !== undefined && { store: store.value }),
    storeBytes: storeBytes?.value ?? DEFAULT_STORE_BYTES[store === undefined ? "temporary" : "file"],
    storeKeepMs: storeKeep.value,
    label: label?.value ?? "",
  };
}
