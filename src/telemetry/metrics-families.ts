import type { LogFields } from "../base/log.ts";
import type { DisconnectReason, DropReason, Metrics } from "../pipeline/metrics.ts";
import { COMMIT, VERSION } from "../base/version.ts";
import type { Encoding } from "../decode/payload-decoder.ts";
import type { InvalidReason } from "../decode/wire-error.ts";
import type { Family, Sample } from "./metrics-text.ts";

/** What the fill of a queue is measured against. */
export interface Capacities {
  /** `--queue-bytes`. */
  readonly queueBytes: number;
  /** `--spool-bytes`; absent where there is no spool. */
  readonly spoolBytes?: number;
  /** `--max-guests`. */
  readonly guests: number;
}

// Every value that a label may take, so that each series is there from the start with 0: a rate over a counter that
// appears with its first event misses that event. The types make a missing word an error.
const DROP_REASONS = words<DropReason>({
  "queue-full": 0,
  rejected: 0,
  shutdown: 0,
  "spool-corrupt": 0,
});
const DISCONNECT_REASONS = words<DisconnectReason>({
  "frame-timeout": 0,
  "idle-timeout": 0,
  "guest-bytes": 0,
  "total-guest-bytes": 0,
  "invalid-rate": 0,
  "max-guests": 0,
});
const INVALID_REASONS = words<InvalidReason>({
  truncated: 0,
  "trailing-bytes": 0,
  "invalid-utf8": 0,
  "invalid-tag": 0,
  "invalid-value": 0,
  "missing-field": 0,
  "duplicate-field": 0,
  "time-out-of-range": 0,
  "too-deep": 0,
  "too-large": 0,
  "unknown-encoding": 0,
});
const ENCODINGS = words<Encoding>({ bincode: 0, json: 0, otlp: 0 });

function words<Word extends string>(all: Readonly<Record<Word, 0>>): readonly Word[] {
  return Object.keys(all) as Word[];
}

/** The namespace of the forwarder's own metrics. */
const PREFIX = "kata_trace_forwarder_";

/**
 * The forwarder's metrics, one family each. Names and units follow
 * https://prometheus.io/docs/practices/naming/ (base units, `_total` for counters); no label takes its value from a guest.
 */
export function forwarderFamilies(metrics: Metrics, capacities: Capacities): Family[] {
  return [
    counter("spans_received_total", "Spans read from guests, valid or not.", metrics.received),
    counter("spans_forwarded_total", "Spans that the collector accepted.", metrics.forwarded),
    labelled(
      "spans_dropped_total",
      "Spans that were read and given up.",
      "reason",
      DROP_REASONS,
      metrics.dropped,
    ),
    labelled(
      "spans_invalid_total",
      "Payloads of guests that are no span.",
      "reason",
      INVALID_REASONS,
      metrics.invalid,
    ),
    gauge(
      "spans_held",
      "Spans in a batch, in the queue, in the spool or on their way.",
      metrics.held,
    ),
    counter(
      "spans_recovered_total",
      "Of the spans received, those an earlier process left in the spool.",
      metrics.recovered,
    ),
    labelled("payloads_total", "Payloads by encoding.", "encoding", ENCODINGS, metrics.payloads),
    counter("received_bytes_total", "Bytes read from guests.", metrics.receivedBytes),
    counter(
      "exported_bytes_total",
      "Bytes of the export requests that the collector accepted, before compression.",
      metrics.exportedBytes,
    ),

    gauge("guests", "Guests connected.", metrics.guestsConnected),
    gauge("guests_limit", "Guests that may be connected at once.", capacities.guests),
    counter("guests_accepted_total", "Guests that were taken in.", metrics.guestsAccepted),
    labelled(
      "guests_disconnected_total",
      "Guests that were disconnected or refused for a limit.",
      "reason",
      DISCONNECT_REASONS,
      metrics.disconnected,
    ),
    counter(
      "rate_limit_pauses_total",
      "Times that a guest was paused for its span rate.",
      metrics.rateLimitPauses,
    ),
    counter(
      "backpressure_pauses_total",
      "Times that all guests were paused because delivery was full.",
      metrics.backpressurePauses,
    ),
    counter(
      "pace_pauses_total",
      "Times that all guests were paused for the collector to keep up.",
      metrics.pacePauses,
    ),

    gauge("queue_bytes", "Export requests held in memory.", metrics.queueBytes),
    gauge("queue_capacity_bytes", "What the queue in memory may hold.", capacities.queueBytes),
    gauge("queue_batches", "Batches waiting or on their way.", metrics.queueBatches),
    gauge(
      "delivery_fill_ratio",
      "How full delivery is, 1 being full: of the queue in memory, or with a spool of the disk.",
      metrics.deliveryFill,
    ),
    gauge("spool_bytes", "What the spool's batches take on disk.", metrics.spoolBytes),
    gauge(
      "spool_capacity_bytes",
      "What the spool may hold; 0 where there is none.",
      capacities.spoolBytes ?? 0,
    ),
    gauge("spool_batches", "Batches in the spool.", metrics.spoolBatches),

    {
      name: `${PREFIX}export_duration_seconds`,
      help: "Time from an export request's start to its answer, whatever the answer.",
      type: "histogram",
      histogram: metrics.exportDuration,
    },
    counter("export_retries_total", "Requests that are tried again.", metrics.exportRetries),
    counter("export_failures_total", "Requests that failed.", metrics.exportFailures),
    gauge(
      "last_success_timestamp_seconds",
      "Unix time when the collector last accepted a request; 0 before the first.",
      metrics.lastSuccess / 1000,
    ),
    {
      name: `${PREFIX}build_info`,
      help: "Always 1; what was built is in the labels.",
      type: "gauge",
      samples: [{ labels: { version: VERSION, commit: COMMIT }, value: 1 }],
    },
  ];
}

/**
 * The same figures for a log record (SIGUSR1): keys are the metrics' names without what they have in common, a label's
 * value after a full stop; series with a label that are still 0 are left out.
 */
export function figures(metrics: Metrics, capacities: Capacities): LogFields {
  const fields: Record<string, number> = {};
  for (const family of forwarderFamilies(metrics, capacities)) {
    const key = family.name.slice(PREFIX.length).replace(/_total$/, "");
    if (key === "build_info") continue; // Every record has the version already.
    if (family.type === "histogram") {
      fields[`${key}.count`] = family.histogram.count;
      fields[`${key}.sum`] = family.histogram.sum;
      continue;
    }
    for (const { labels, value } of family.samples) {
      const [label] = Object.values(labels ?? {});
      if (label === undefined) fields[key] = value;
      else if (value !== 0) fields[`${key}.${label}`] = value;
    }
  }
  return fields;
}

function counter(name: string, help: string, value: number): Family {
  return { name: PREFIX + name, help, type: "counter", samples: [{ value }] };
}

function gauge(name: string, help: string, value: number): Family {
  return { name: PREFIX + name, help, type: "gauge", samples: [{ value }] };
}

function labelled(
  name: string,
  help: string,
  label: string,
  values: readonly string[],
  counts: { readonly [value: string]: number | undefined },
): Family {
  const samples: Sample[] = values.map((value) => ({
    labels: { [label]: value },
    value: counts[value] ?? 0,
  }));
  return { name: PREFIX + name, help, type: "counter", samples };
}
