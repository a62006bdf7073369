import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import process from "node:process";
import { performance } from "node:perf_hooks";
import { test } from "node:test";
import { Metrics } from "../../src/pipeline/metrics.ts";
import { type Capacities, figures } from "../../src/telemetry/metrics-families.ts";
import {
  type MetricsServer,
  MetricsServerError,
  type MetricsSources,
  startMetricsServer,
} from "../../src/telemetry/metrics-server.ts";
import { stuckDelivery } from "../../src/telemetry/metrics-readiness.ts";
import { VERSION } from "../../src/base/version.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { readExposition } from "./support/exposition.ts";

const CAPACITIES: Capacities = { guests: 7 };
const NAME = "kata_trace_forwarder";

function sources(overrides: Partial<MetricsSources> = {}): MetricsSources {
  return {
    metrics: idle(),
    capacities: CAPACITIES,
    notReady: () => undefined,
    log: new RecordingLogger(),
    ...overrides,
  };
}

async function serving(
  given: MetricsSources,
  use: (server: MetricsServer) => Promise<void>,
): Promise<void> {
  const server = await startMetricsServer({ host: "127.0.0.1", port: 0 }, given);
  try {
    await use(server);
  } finally {
    await server.close();
  }
}

interface Answer {
  readonly status: number | undefined;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

function request(server: MetricsServer, path: string, method = "GET"): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = http.request({ port: server.port, path, method, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => body += chunk);
      response.on(
        "end",
        () => resolve({ status: response.statusCode, headers: response.headers, body }),
      );
    });
    sent.on("error", reject);
    sent.end();
  });
}

/** Sends bytes as they are, and resolves with the answer when the server has closed the connection. */
function raw(server: MetricsServer, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(server.port, "127.0.0.1", () => socket.write(text));
    let answer = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => answer += chunk);
    // A reset closes the connection too.
    socket.on("error", () => {});
    socket.on("close", () => resolve(answer));
  });
}

/** Metrics whose series all exist. */
function idle(): Metrics {
  const metrics = new Metrics();
  metrics.receiver("vsock", ["bincode", "json", "otlp"]);
  metrics.destination("collector");
  return metrics;
}

/** Metrics in which everything has happened. */
function busy(): Metrics {
  const metrics = idle();
  const vsock = metrics.receiver("vsock");
  vsock.received = 87;
  for (let i = 0; i < 5; i++) vsock.invalidate(i < 3 ? "truncated" : "too-deep");
  vsock.receivedBytes = 64_000;
  vsock.payloads["bincode"] = 70;
  vsock.payloads["json"] = 25;
  const collector = metrics.destination("collector");
  collector.forwarded = 60;
  metrics.heldOpen = 4;
  collector.heldQueued = 16;
  collector.drop("queue-full", 10);
  collector.drop("rejected", 5);
  collector.recovered = 8;
  collector.exportedBytes = 32_000;
  metrics.guestsConnected = 2;
  metrics.guestsAccepted = 9;
  metrics.disconnect("max-guests");
  metrics.rateLimitPauses = 11;
  collector.backpressurePauses = 12;
  collector.pacePauses = 14;
  collector.exportRetries = 3;
  collector.exportFailures = 4;
  collector.exportDuration.observe(0.02);
  collector.exportDuration.observe(20);
  collector.lastSuccess = 1_700_000_000_500;
  collector.queueBytes = 500;
  collector.queueCapacityBytes = 1000;
  collector.queueBatches = 6;
  collector.deliveryFill = 0.75;
  collector.spoolBytes = 1500;
  collector.spoolCapacityBytes = 2000;
  collector.spoolBatches = 5;
  return metrics;
}

test("/metrics shows every counter with its name and unit", async () => {
  await serving(sources({ metrics: busy() }), async (server) => {
    const { status, headers, body } = await request(server, "/metrics");
    assert.equal(status, 200);
    assert.equal(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    const families = readExposition(body);
    const shown: Record<string, number> = {};
    for (const { series } of families.values()) {
      for (const [id, value] of series) {
        if (id.startsWith(`${NAME}_`) && value !== 0) shown[id.slice(NAME.length + 1)] = value;
      }
    }
    const to = '{destination="collector"}';
    const slow = [0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
    assert.deepEqual(shown, {
      'spans_received_total{receiver="vsock"}': 92,
      'spans_received_total{receiver="spool"}': 8,
      [`spans_forwarded_total${to}`]: 60,
      'spans_dropped_total{destination="collector",reason="queue-full"}': 10,
      'spans_dropped_total{destination="collector",reason="rejected"}': 5,
      'spans_invalid_total{receiver="vsock",reason="truncated"}': 3,
      'spans_invalid_total{receiver="vsock",reason="too-deep"}': 2,
      [`spans_held${to}`]: 20,
      [`spans_recovered_total${to}`]: 8,
      'payloads_total{receiver="vsock",encoding="bincode"}': 70,
      'payloads_total{receiver="vsock",encoding="json"}': 25,
      'received_bytes_total{receiver="vsock"}': 64_000,
      [`exported_bytes_total${to}`]: 32_000,
      guests: 2,
      guests_limit: 7,
      guests_accepted_total: 9,
      'guests_disconnected_total{reason="max-guests"}': 1,
      rate_limit_pauses_total: 11,
      [`backpressure_pauses_total${to}`]: 12,
      [`pace_pauses_total${to}`]: 14,
      [`queue_bytes${to}`]: 500,
      [`queue_capacity_bytes${to}`]: 1000,
      [`queue_batches${to}`]: 6,
      [`delivery_fill_ratio${to}`]: 0.75,
      [`spool_bytes${to}`]: 1500,
      [`spool_capacity_bytes${to}`]: 2000,
      [`spool_batches${to}`]: 5,
      ...Object.fromEntries(
        slow.map((bound) => [`export_duration_seconds_bucket{destination="collector",le="${bound}"}`, 1]),
      ),
      'export_duration_seconds_bucket{destination="collector",le="+Inf"}': 2,
      [`export_duration_seconds_sum${to}`]: 20.02,
      [`export_duration_seconds_count${to}`]: 2,
      [`export_retries_total${to}`]: 3,
      [`export_failures_total${to}`]: 4,
      [`last_success_timestamp_seconds${to}`]: 1_700_000_000.5,
      [`build_info{version="${VERSION}",commit="source"}`]: 1,
    });
    const kinds = Object.fromEntries([...families.values()].map(({ name, type }) => [name, type]));
    assert.equal(kinds[`${NAME}_spans_received_total`], "counter");
    assert.equal(kinds[`${NAME}_spans_held`], "gauge");
    assert.equal(kinds[`${NAME}_export_duration_seconds`], "histogram");
  });
});

test("every reason exists from the start, with 0", async () => {
  await serving(sources(), async (server) => {
    const families = readExposition((await request(server, "/metrics")).body);
    const values = (name: string): Record<string, number> =>
      Object.fromEntries(
        [...families.get(`${NAME}_${name}`)?.series ?? []].map(([id, value]) => [
          /"([^"]*)"\}$/.exec(id)?.[1] ?? "",
          value,
        ]),
      );
    assert.deepEqual(values("spans_dropped_total"), {
      "queue-full": 0,
      "paused-too-long": 0,
      rejected: 0,
      shutdown: 0,
      "spool-corrupt": 0,
      "viewer-gone": 0,
    });
    assert.deepEqual(values("guests_disconnected_total"), {
      "frame-timeout": 0,
      "idle-timeout": 0,
      "guest-bytes": 0,
      "total-guest-bytes": 0,
      "invalid-rate": 0,
      "max-guests": 0,
    });
    assert.deepEqual(values("payloads_total"), { bincode: 0, json: 0, otlp: 0 });
    assert.equal(Object.keys(values("spans_invalid_total")).length, 11);
  });
});

test("the process's own metrics are those of this process", async () => {
  await serving(sources(), async (server) => {
    const families = readExposition((await request(server, "/metrics")).body);
    const value = (name: string): number => families.get(name)?.series.get(name) ?? NaN;
    const cpu = process.cpuUsage();
    assert.ok(value("process_cpu_seconds_total") > 0);
    assert.ok(value("process_cpu_seconds_total") <= (cpu.user + cpu.system) / 1e6 + 0.01);
    const limits = readFileSync("/proc/self/limits", "utf8");
    const soft = /^Max open files +(\S+)/m.exec(limits)?.[1];
    assert.equal(value("process_max_fds"), soft === "unlimited" ? Infinity : Number(soft));
    assert.ok(value("process_open_fds") > 2 && value("process_open_fds") < 1000);
    const kibibytes = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    const memory = value("process_resident_memory_bytes");
    assert.ok(memory > 1e6 && memory <= Number(kibibytes) * 1024);
    const started = value("process_start_time_seconds");
    assert.ok(started < Date.now() / 1000 && started > Date.now() / 1000 - 3600);
  });
});

test("/healthz says ok, and /readyz says why the forwarder is not ready", async () => {
  let reason: string | undefined = "does not listen yet";
  await serving(sources({ notReady: () => reason }), async (server) => {
    const healthy = await request(server, "/healthz");
    assert.deepEqual([healthy.status, healthy.body], [200, "ok\n"]);
    const before = await request(server, "/readyz");
    assert.deepEqual([before.status, before.body], [503, "does not listen yet\n"]);
    reason = undefined;
    const after = await request(server, "/readyz?verbose");
    assert.deepEqual([after.status, after.body], [200, "ready\n"]);
  });
});

test("/readyz says that delivery is stuck if the queue is full and nothing is accepted for 30 s", async () => {
  const metrics = idle();
  const collector = metrics.destination("collector");
  collector.spoolCapacityBytes = 2000;
  await serving(sources({ metrics }), async (server) => {
    collector.lastSuccessAt = performance.now() - 45_500;
    collector.deliveryFill = 0.89;
    assert.equal((await request(server, "/readyz")).status, 200);
    collector.deliveryFill = 0.9;
    const stuck = await request(server, "/readyz");
    assert.equal(stuck.status, 503);
    assert.match(
      stuck.body,
      /^delivery is stuck: the spool is full, and the collector has taken nothing for 4[5-9] s\n$/,
    );
    collector.lastSuccessAt = performance.now();
    assert.equal((await request(server, "/readyz")).status, 200);
    // It is not a reason for a restart, in which held spans would be lost.
    collector.lastSuccessAt = -60_000;
    assert.equal((await request(server, "/healthz")).status, 200);
  });
});

test("before the first success the time counts from the process's start", () => {
  const metrics = new Metrics();
  metrics.destination("collector").deliveryFill = 1;
  assert.equal(stuckDelivery(metrics, 29_999), undefined);
  assert.equal(
    stuckDelivery(metrics, 30_000),
    "delivery is stuck: the queue is full, and the collector has taken nothing for 30 s",
  );
});

test("the text of /metrics is made at most once a second", async () => {
  const metrics = new Metrics();
  let now = 5_000;
  await serving(sources({ metrics, now: () => now }), async (server) => {
    const accepted = async () =>
      /^kata_trace_forwarder_guests_accepted_total (\d+)$/m.exec((await request(server, "/metrics")).body)?.[1];
    metrics.guestsAccepted = 1;
    assert.equal(await accepted(), "1");
    metrics.guestsAccepted = 2;
    now += 999;
    assert.equal(await accepted(), "1");
    now += 1;
    assert.equal(await accepted(), "2");
  });
});

test("HEAD gets the headers only, other methods 405, other paths 404", async () => {
  await serving(sources(), async (server) => {
    const head = await request(server, "/metrics", "HEAD");
    assert.equal(head.status, 200);
    assert.equal(head.body, "");
    const length = Number(head.headers["content-length"]);
    assert.ok(length > 1000, `${length}`);
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      const answer = await request(server, "/metrics", method);
      assert.equal(answer.status, 405);
      assert.equal(answer.headers["allow"], "GET, HEAD");
    }
    for (const path of ["/", "/metrics/", "/Metrics", "/readyz/../metrics"]) {
      assert.equal((await request(server, path)).status, 404, path);
    }
  });
});

test("a connection takes one request, and anything that is not HTTP ends it", async () => {
  await serving(sources(), async (server) => {
    const one = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    const twice = await raw(server, one + one);
    assert.equal(twice.match(/HTTP\/1\.1 200 OK/g)?.length, 1);
    assert.match(twice, /\r\nconnection: close\r\n/i);
    assert.match(
      await raw(
        server,
        "POST /metrics HTTP/1.1\r\nContent-Length: 9999999\r\n" +
          "Host: a\r\n\r\nabc",
      ),
      /^HTTP\/1\.1 405 /,
    );
    const refused = [
      "GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + "y".repeat(9000) + "\r\n\r\n",
      "GET /" + "y".repeat(100_000) + " HTTP/1.1\r\nHost: a\r\n\r\n",
      "\u0001\u0002 nonsense\r\n\r\n",
    ];
    for (const text of refused) assert.doesNotMatch(await raw(server, text), / 200 /);
    assert.equal((await request(server, "/healthz")).status, 200);
  });
});

test("idle connections do not lock out a scraper", async () => {
  await serving(sources(), async (server) => {
    let closed = 0;
    const evicted = Promise.withResolvers<void>();
    const idle = Array.from({ length: 100 }, () => {
      const socket = net.connect(server.port, "127.0.0.1");
      socket.on("error", () => {});
      // Only a socket that is read notices its end.
      socket.resume();
      // The start of a request, because the kernel may not report a silent connection to the server at all.
      socket.write("GET /healthz HTT");
      // All except the 32 that may be open at a time.
      socket.once("close", () => ++closed === 100 - 32 && evicted.resolve());
      return socket;
    });
    await Promise.all(
      idle.map((socket) => new Promise((resolve) => socket.once("connect", resolve))),
    );
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => request(server, "/healthz")),
    );
    assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 200, 200]);
    await evicted.promise;
    assert.equal((await request(server, "/healthz")).status, 200);
    for (const socket of idle) socket.destroy();
  });
});

test("a request that fails inside is logged and costs only itself", async () => {
  const log = new RecordingLogger();
  const failing = sources({
    log,
    notReady: () => {
      throw new RangeError("inside");
    },
  });
  await serving(failing, async (server) => {
    assert.equal((await request(server, "/readyz")).status, 500);
    assert.equal((await request(server, "/healthz")).status, 200);
  });
  assert.deepEqual(log.records.map(({ message, fields }) => [message, fields?.["path"]]), [
    ["metrics request failed", "/readyz"],
  ]);
});

test("an error says that the port is in use", async () => {
  await serving(sources(), async (server) => {
    await assert.rejects(
      startMetricsServer({ host: "127.0.0.1", port: server.port }, sources()),
      (error) =>
        error instanceof MetricsServerError &&
        error.message ===
          `--metrics 127.0.0.1:${server.port}: the port is in use: stop what listens there, or choose another` &&
        error.cause instanceof Error,
    );
    assert.equal(server.address, `127.0.0.1:${server.port}`);
  });
  // RFC 6761: such a name never resolves.
  await assert.rejects(
    startMetricsServer({ host: "no.such.invalid", port: 20_000 }, sources()),
    /^MetricsServerError: --metrics no\.such\.invalid:20000: there is no such host/,
  );
  // TEST-NET-1 (RFC 5737): no machine has this address.
  await assert.rejects(
    startMetricsServer({ host: "192.0.2.1", port: 0 }, sources()),
    {
      name: "MetricsServerError",
      message: "--metrics 192.0.2.1:0: this machine has no such address",
    },
  );
});

test("after close the port is free and connections are closed", async () => {
  const server = await startMetricsServer({ host: "127.0.0.1", port: 0 }, sources());
  const socket = net.connect(server.port, "127.0.0.1");
  socket.on("error", () => {});
  const gone = new Promise((resolve) => socket.once("close", resolve));
  socket.write("GET /metrics HTTP/1.1\r\n");
  await new Promise((resolve) => setTimeout(resolve, 50));
  await server.close();
  await gone;
  const again = await startMetricsServer({ host: "127.0.0.1", port: server.port }, sources());
  assert.equal(again.port, server.port);
  await again.close();
});

test("figures are the same numbers, without labelled series that are 0", () => {
  assert.deepEqual(figures(busy(), CAPACITIES), {
    spans_received: 100,
    spans_forwarded: 60,
    "spans_dropped.queue-full": 10,
    "spans_dropped.rejected": 5,
    "spans_invalid.truncated": 3,
    "spans_invalid.too-deep": 2,
    spans_held: 20,
    spans_recovered: 8,
    "payloads.bincode": 70,
    "payloads.json": 25,
    received_bytes: 64_000,
    exported_bytes: 32_000,
    guests: 2,
    guests_limit: 7,
    guests_accepted: 9,
    "guests_disconnected.max-guests": 1,
    rate_limit_pauses: 11,
    truncated_attributes: 0,
    backpressure_pauses: 12,
    pace_pauses: 14,
    queue_bytes: 500,
    queue_capacity_bytes: 1000,
    queue_batches: 6,
    delivery_fill_ratio: 0.75,
    spool_bytes: 1500,
    spool_capacity_bytes: 2000,
    spool_batches: 5,
    "export_duration_seconds.count": 2,
    "export_duration_seconds.sum": 20.02,
    export_retries: 3,
    export_failures: 4,
    last_success_timestamp_seconds: 1_700_000_000.5,
  });
});
