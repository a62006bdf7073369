import { encodeBincode } from "./bincode-encoder.ts";
import { Random } from "./random.ts";
import type { SpanRecord } from "./span-record.ts";

/** Spans of a container's start for measuring: all alike, about 640 bytes as bincode, six attributes and one event. */
export function loadSpans(count: number): SpanRecord[] {
  const random = new Random(1);
  return random.many(count, () => {
    const containerId = hex(random, 64);
    const start = 1_767_000_000_000_000_000n + BigInt(random.below(3_600)) * 1_000_000_000n +
      BigInt(random.below(1_000_000_000));
    const busy = random.below(9_000_000);
    const idle = random.below(9_000_000);
    return {
      attributes: [
        { key: "mod", value: { stringValue: "rpc.rs" } },
        {
          key: "req",
          value: {
            stringValue: `StartContainerRequest { container_id: "${containerId}", seq: ${random.below(100_000)} }`,
          },
        },
        { key: "subsystem", value: { stringValue: "rpc" } },
        { key: "exit_code", value: { doubleValue: 0 } },
        { key: "busy_ns", value: { intValue: String(busy) } },
        { key: "idle_ns", value: { intValue: String(idle) } },
      ],
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
      endTimeUnixNano: String(start + BigInt(busy + idle)),
      events: [{
        attributes: [
          { key: "level", value: { stringValue: "INFO" } },
          { key: "target", value: { stringValue: "kata_agent::rpc" } },
        ],
        droppedAttributesCount: 0,
        name: "container started",
        timeUnixNano: String(start + 10n),
      }],
      isRemote: false,
      kind: 1,
      links: [],
      name: "start_container",
      parentSpanId: hex(random, 16),
      resource: null,
      spanId: hex(random, 16),
      startTimeUnixNano: String(start),
      status: { code: 0, message: "" },
      traceFlags: 1,
      traceId: hex(random, 32),
      traceState: "",
    };
  });
}

/** The same as bincode payloads. */
export function loadPayloads(count: number): Uint8Array[] {
  return loadSpans(count).map((span) => encodeBincode(span));
}

function hex(random: Random, digits: number): string {
  let text = "";
  while (text.length < digits) text += random.uint32().toString(16).padStart(8, "0");
  return text;
}
