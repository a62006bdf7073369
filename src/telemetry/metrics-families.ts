import type { LogFields } from "../base/log.ts";
import type {
  DestinationMetrics,
  DisconnectReason,
  DropReason,
  LeftOutReason,
  Metrics,
  ReceiverMetrics,
} from "../pipeline/metrics.ts";
import { COMMIT, VERSION } from "../base/version.ts";
import type { InvalidReason } from "../pipeline/invalid-reason.ts";
import type { Family, Labels, Sample } from "./metrics-text.ts";

/** Limits from the settings. */
export interface Capacities {
  /** `--max-guests`. */
  readonly guests: number;
}

// Every value that a label may have, so that each series exists from the start with 0, because a rate over a counter
// that appears with its first event misses that event. The types make a missing word an error.
const DROP_REASONS = words<DropReason>({
  "queue-full": 0,
  "paused-too-long": 0,
  rejected: 0,
  shutdown: 0,
  "spool-corrupt": 0,
  "viewer-gone": 0,
});
const DISCONNECT_REASONS = words<DisconnectReason>({
  "frame-timeout": 0,
  "idle-timeout": 0,
  "guest-bytes": 0,
  "total-guest-bytes": 0,
  "invalid-rate": 0,
  "max-guests": 0,
});
const LEFT_OUT_REASONS = words<LeftOutReason>({ "http2-noise": 0 });
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

function words<Word extends string>(all: Readonly<Record<Word, 0>>): readonly Word[] {
  return Object.keys(all) as Word[];
}

/** The namespace of the forwarder's own metrics. */
const PREFIX = "kata_trace_forwarder_";
/**
 * The `receiver` of spans that an earlier process had received. Only a destination with a spool has such spans, and the
 * equation of any other destination leaves them out.
 */
const SPOOL_RECEIVER = "spool";

/**
 * The forwarder's metrics, one family each. Names and units follow
 * https://prometheus.io/docs/practices/naming/ (base units, `_total` for counters); no label takes its value from a
 * guest.
 */
export function forwarderFamilies(metrics: Metrics, capacities: Capacities): Family[] {
  return [
    ...receiverFamilies([...metrics.receivers.values()], [...metrics.destinations.values()]),
    ...deliveryFamilies(metrics, [...metrics.destinations.values()]),

    counterOf("guests_accepted_total", "Guests that were accepted.", [{ value: metrics.guestsAccepted }]),
    gaugeOf("guests", "Guests connected.", [{ value: metrics.guestsConnected }]),
    gaugeOf("guests_limit", "Guests that may be connected at once.", [{ value: capacities.guests }]),
    counterOf(
      "guests_disconnected_total",
      "Guests that were disconnected or refused because of a limit.",
      labelled({}, "reason", DISCONNECT_REASONS, metrics.disconnected),
    ),
    counterOf(
      "rate_limit_pauses_total",
      "Times that a guest was paused because of its span rate.",
      [{ value: metrics.rateLimitPauses }],
    ),
    counterOf(
      "truncated_attributes_total",
      "Values of attributes that were cut because they were too long.",
      [{ value: metrics.truncatedAttributes }],
    ),
    gaugeOf(
      "build_info",
      "Always 1; the labels say what was built.",
      [{ labels: { version: VERSION, commit: COMMIT }, value: 1 }],
    ),
  ];
}

function receiverFamilies(
  receivers: readonly ReceiverMetrics[],
  destinations: readonly DestinationMetrics[],
): Family[] {
  const each = (value: (receiver: ReceiverMetrics) => number): Sample[] =>
    receivers.map((receiver) => ({ labels: { receiver: receiver.name }, value: value(receiver) }));
  const recovered = destinations.reduce((sum, destination) => sum + destination.recovered, 0);
  return [
    counterOf(
      "spans_received_total",
      "Spans that were received, valid or not; with receiver=spool by an earlier process.",
      [
        ...each(({ received }) => received),
        { labels: { receiver: SPOOL_RECEIVER }, value: recovered },
      ],
    ),
    counterOf(
      "spans_invalid_total",
      "Payloads that are not spans.",
      receivers.flatMap(({ name, invalid }) => labelled({ receiver: name }, "reason", INVALID_REASONS, invalid)),
    ),
    counterOf(
      "spans_left_out_total",
      "Spans that came in and are not wanted; they do not count as received.",
      receivers.flatMap(({ name, leftOut }) => labelled({ receiver: name }, "reason", LEFT_OUT_REASONS, leftOut)),
    ),
    counterOf(
      "payloads_total",
      "Payloads by encoding.",
      receivers.flatMap(({ name, encodings, payloads }) =>
        labelled({ receiver: name }, "encoding", encodings, payloads)
      ),
    ),
    counterOf("received_bytes_total", "Bytes that were received.", each(({ receivedBytes }) => receivedBytes)),
  ];
}

function deliveryFamilies(metrics: Metrics, destinations: readonly DestinationMetrics[]): Family[] {
  const each = (value: (destination: DestinationMetrics) => number): Sample[] =>
    destinations.map((destination) => ({ labels: { destination: destination.name }, value: value(destination) }));
  return [
    counterOf("spans_forwarded_total", "Spans that the destination accepted.", each(({ forwarded }) => forwarded)),
    counterOf(
      "spans_dropped_total",
      "Spans that were received but given up.",
      destinations.flatMap(({ name, dropped }) => labelled({ destination: name }, "reason", DROP_REASONS, dropped)),
    ),
    gaugeOf(
      "spans_held",
      "Spans in a batch, in the queue, in the spool or on their way.",
      each((destination) => metrics.held(destination)),
    ),
    counterOf(
      "spans_recovered_total",
      "Spans that an earlier process left in the spool.",
      each(({ recovered }) => recovered),
    ),
    counterOf(
      "exported_bytes_total",
      "Bytes of the export requests that the destination accepted, before compression.",
      each(({ exportedBytes }) => exportedBytes),
    ),
    counterOf(
      "backpressure_pauses_total",
      "Times that sources were paused because the queue was full.",
      each(({ backpressurePauses }) => backpressurePauses),
    ),
    counterOf(
      "pace_pauses_total",
      "Times that sources were paused so that the destination can keep up.",
      each(({ pacePauses }) => pacePauses),
    ),
    gaugeOf("queue_bytes", "Bytes held in memory.", each(({ queueBytes }) => queueBytes)),
    gaugeOf(
      "queue_capacity_bytes",
      "Bytes that the queue in memory may hold.",
      each(({ queueCapacityBytes }) => queueCapacityBytes),
    ),
    gaugeOf("queue_batches", "Batches waiting or on their way.", each(({ queueBatches }) => queueBatches)),
    gaugeOf(
      "delivery_fill_ratio",
      "How full the queue is, in memory or with a spool on the disk; 1 means full.",
      each(({ deliveryFill }) => deliveryFill),
    ),
    gaugeOf("spool_bytes", "Bytes of the spool's batches on disk.", each(({ spoolBytes }) => spoolBytes)),
    gaugeOf(
      "spool_capacity_bytes",
      "Bytes that the spool may hold; 0 without a spool.",
      each(({ spoolCapacityBytes }) => spoolCapacityBytes),
    ),
    gaugeOf("spool_batches", "Batches in the spool.", each(({ spoolBatches }) => spoolBatches)),
    {
      name: `${PREFIX}export_duration_seconds`,
      help: "Time from an export request's start to its answer, whatever the answer.",
      type: "histogram",
      histograms: destinations.map(({ name, exportDuration }) => ({
        labels: { destination: name },
        histogram: exportDuration,
      })),
    },
    counterOf("export_retries_total", "Requests that are tried again.", each(({ exportRetries }) => exportRetries)),
    counterOf("export_failures_total", "Requests that failed.", each(({ exportFailures }) => exportFailures)),
    gaugeOf(
      "last_success_timestamp_seconds",
      "Unix time when the destination last accepted a request; 0 before the first.",
      each(({ lastSuccess }) => lastSuccess / 1000),
    ),
  ];
}

/**
 * The same figures for a log record (SIGUSR1). Keys are the metrics' names without their common part, followed by
 * labels' values after full stops. Receivers are added up, and the first destination, which is usually the only one, is
 * not named. Labelled series that are still 0 are left out.
 */
export function figures(metrics: Metrics, capacities: Capacities): LogFields {
  const fields: Record<string, number> = {};
  const [first] = metrics.destinations.keys();
  const keyOf = (name: string, { receiver: _, destination, ...others }: Labels): string => {
    const shown = [...(destination === first ? [] : [destination]), ...Object.values(others)];
    return [name.slice(PREFIX.length).replace(/_total$/, ""), ...shown].filter((part) => part !== undefined).join(".");
  };
  for (const family of forwarderFamilies(metrics, capacities)) {
    if (family.name === `${PREFIX}build_info`) continue; // Every record has the version already.
    if (family.type === "histogram") {
      for (const { labels, histogram } of family.histograms) {
        const key = keyOf(family.name, labels);
        fields[`${key}.count`] = histogram.count;
        fields[`${key}.sum`] = histogram.sum;
      }
      continue;
    }
    for (const { labels = {}, value } of family.samples) {
      const { receiver: _, destination: __, ...others } = labels;
      if (value === 0 && Object.keys(others).length > 0) continue;
      const key = keyOf(family.name, labels);
      fields[key] = (fields[key] ?? 0) + value;
    }
  }
  return fields;
}

function counterOf(name: string, help: string, samples: readonly Sample[]): Family {
  return { name: PREFIX + name, help, type: "counter", samples };
}

function gaugeOf(name: string, help: string, samples: readonly Sample[]): Family {
  return { name: PREFIX + name, help, type: "gauge", samples };
}

/** A series for each value that a label may have, with the labels that all of them have in common. */
function labelled(
  common: Labels,
  label: string,
  values: readonly string[],
  counts: { readonly [value: string]: number | undefined },
): Sample[] {
  return values.map((value) => ({ labels: { ...common, [label]: value }, value: counts[value] ?? 0 }));
}
