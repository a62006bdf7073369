import { join } from "node:path";
import { loadLibc } from "../../ffi/libc.ts";
import type { Logger } from "../base/log.ts";
import type { ReadFile } from "../exporters/connection/tls-credentials.ts";
import { createExporter } from "../exporters/create-exporter.ts";
import { DeadLetterFile } from "../exporters/dead-letter.ts";
import { deadLetterLine } from "../exporters/dead-letter-line.ts";
import { DumpSink, type DumpWriter } from "../exporters/dump-sink.ts";
import { RecordDestination } from "../exporters/record-destination.ts";
import { probe, PROBE_TIMEOUT_MS } from "../exporters/probe.ts";
import type { Privileges } from "../host/privileges.ts";
import type { Destination } from "../pipeline/destination.ts";
import type { Metrics } from "../pipeline/metrics.ts";
import type { SelfTrace } from "../pipeline/self-trace.ts";
import type { QueueSettings, Settings, ViewerSettings } from "../pipeline/settings.ts";
import type { SpanSink } from "../pipeline/sink.ts";
import { JoinTraces } from "../processors/join-traces/join-traces.ts";
import { SandboxFile } from "../processors/join-traces/sandbox-file.ts";
import { redacting } from "../processors/redact.ts";
import { linkingRoots } from "../processors/root-links.ts";
import { truncatingAttributes } from "../processors/truncate-attributes.ts";
import { CollectorDestination } from "../queue/collector-destination.ts";
import { Delivery } from "../queue/delivery.ts";
import { dumpJsonPieces } from "../record/dump-json-pieces.ts";
import { dumpTextPieces } from "../record/dump-text-pieces.ts";

/** The file beside the spool in which sandboxes survive a restart. */
const SANDBOX_FILE = "sandboxes.json";

/** A sink behind the processors that the settings ask for. */
export interface Processed {
  readonly sink: SpanSink;
  /** Absent without `--join-traces`. */
  readonly joinTraces?: JoinTraces;
}

/**
 * Puts the processors that the settings ask for before a sink: redaction first, because it is before everything, then
 * links of roots, before joining gives these a parent, and truncation last, because nothing makes a span larger after
 * it.
 *
 * @param runningSandboxes see `JoinedSandboxesOptions`.
 */
export function processed(
  sink: SpanSink,
  settings: Settings,
  metrics: Metrics,
  log: Logger,
  runningSandboxes?: () => Promise<ReadonlySet<string>>,
): Processed {
  const { redact, rootLink, maxAttributeBytes, queue } = settings;
  const truncated = truncatingAttributes(sink, metrics, maxAttributeBytes);
  const joinLog = log.of("join-traces");
  // Without a collector there is no spool, and nobody has made its directory.
  const spool = settings.dumpOnly || settings.forwards === false ? undefined : queue.spool;
  const file = spool && new SandboxFile(join(spool.directory, SANDBOX_FILE), joinLog);
  const joined = settings.joinTraces &&
    new JoinTraces({ sink: truncated, metrics, log: joinLog, file, runningSandboxes });
  const linked = rootLink === undefined ? joined ?? truncated : linkingRoots(joined ?? truncated, rootLink);
  if (redact === undefined) {
    log.info(
      "agents' spans leave with containers' environment and arguments in them: see --redact and docs/privacy.md",
    );
  }
  return {
    sink: redact === undefined ? linked : redacting(linked, redact),
    ...(joined && { joinTraces: joined }),
  };
}

/** What `--dump-only` uses instead of delivery. */
export function openDump(
  settings: Settings,
  output: DumpWriter | undefined,
  metrics: Metrics,
): DumpSink {
  if (output === undefined) throw new Error("there is nothing to dump to");
  const { traceName, resourceAttributes, dumpFormat } = settings;
  const format = dumpFormat === "text" ? dumpTextPieces : dumpJsonPieces;
  return new DumpSink({ format, output, traceName, resourceAttributes, metrics });
}

/** Opens a destination once privileges have been dropped. */
type OpenDestination = () => Destination;

/** What destinations are made of. */
export interface DestinationParts {
  readonly settings: Settings;
  readonly owner: Privileges["owner"];
  readonly metrics: Metrics;
  readonly trace: SelfTrace;
  readonly log: Logger;
  /** Reads certificates and keys, also after privileges are gone. */
  readonly readFile: ReadFile;
  /** Guests of an earlier process are going to be taken over. */
  readonly hasGuests: boolean;
  /** Called with the viewer's URL. */
  readonly onViewer?: ((url: string) => void) | undefined;
  readonly undo: (() => void | Promise<void>)[];
}

/**
 * Opens all that delivery needs privileges for. Returns what opens the rest, once they are gone.
 */
export async function prepareDelivery(parts: DestinationParts): Promise<() => Delivery> {
  const { settings, metrics } = parts;
  const { batch, traceName, resourceAttributes } = settings;
  const prepared = [
    ...(settings.forwards === false ? [] : [await prepareCollector(parts)]),
    ...(settings.record === undefined ? [] : [await openRecord(settings.record, parts)]),
    ...(settings.viewer === undefined ? [] : [await startViewer(settings.viewer, parts)]),
  ];
  return () => {
    return new Delivery({
      batch,
      traceName,
      resourceAttributes,
      metrics,
      destinations: prepared.map((open) => open()),
    });
  };
}

/** Opens the exporter and what else the collector needs, and finds out whether it is there. */
async function prepareCollector(parts: DestinationParts): Promise<OpenDestination> {
  const { settings, owner, metrics, trace, log, readFile, hasGuests, undo } = parts;
  const { queue, otlp, batch } = settings;
  const exporter = await createExporter(otlp, log.of("otlp"), {
    readFile,
    onRetry: () => metrics.destination("collector").exportRetries++,
  });
  undo.push(() => exporter.close());
  const deadLetterFile = queue.deadLetterFile === undefined
    ? undefined
    : DeadLetterFile.open(queue.deadLetterFile, undefined, owner);
  if (deadLetterFile !== undefined) undo.push(() => deadLetterFile.close());
  const openSpool = queue.spool && await prepareSpool(queue.spool, owner);
  // Spans that can wait, on disk or because the user said so, need no collector yet. Guests of an earlier process
  // cannot wait: they would be lost if this start failed.
  if (openSpool === undefined && !settings.waitForCollector && !hasGuests) {
    await trace.step("probe", () => probe(otlp, exporter, PROBE_TIMEOUT_MS, log.of("otlp")));
  }
  return () =>
    new CollectorDestination({
      exporter,
      limits: batch,
      queue,
      spool: openSpool?.(log.of("delivery")),
      deadLetter: deadLetterFile?.writer(deadLetterLine, log.of("delivery")),
      metrics: metrics.destination("collector"),
      trace,
      log: log.of("delivery"),
    });
}

async function openRecord(record: NonNullable<Settings["record"]>, parts: DestinationParts): Promise<OpenDestination> {
  const { metrics, log, owner, undo } = parts;
  const options = { ...record, owner, metrics: metrics.destination("record"), log: log.of("record") };
  const destination = await RecordDestination.open(options);
  undo.push(async () => void await destination.abort());
  return () => destination;
}

/** Starts the viewer's process, which has to listen before anybody looks for its page. */
async function startViewer(viewer: ViewerSettings, parts: DestinationParts): Promise<OpenDestination> {
  const { owner, metrics, log, undo, onViewer } = parts;
  // Loaded only here: most forwarders have no viewer.
  const { ViewDestination } = await import("../view/process/view-destination.ts");
  const destination = await ViewDestination.start({
    viewer,
    metrics: metrics.destination("store"),
    log: log.of("view"),
    user: owner,
  });
  undo.push(async () => void await destination.abort());
  log.info("serving the viewer", { url: destination.url });
  onViewer?.(destination.url);
  return () => destination;
}

async function prepareSpool(spool: NonNullable<QueueSettings["spool"]>, owner: Privileges["owner"]) {
  // Loaded only here: not everybody has a spool.
  const { prepareSpool } = await import("../queue/spool/open-spool.ts");
  return prepareSpool(spool, owner, await loadLibc());
}
