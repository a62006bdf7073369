import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { Random } from "../../decode/support/random.ts";
import type { Forwarder } from "../../process/support/forwarder.ts";
import { descriptorsOf, residentMiB } from "../../process/support/node.ts";
import { CLEAN } from "../../process/support/process.ts";
import { Sandbox } from "../../process/support/sandbox.ts";
import { ServiceManagerStandIn } from "../../process/support/service-manager.ts";
import { test } from "../../process/support/test.ts";
import type { Answer } from "../../support/collector-stub.ts";
import { until } from "../../support/until.ts";
import { Equation } from "../faults/support/equation.ts";
import { FarEnd } from "../faults/support/far-end.ts";
import { LoadGuest } from "../faults/support/load.ts";
import { fromEnvironment, report } from "../faults/support/report.ts";
import { type Restart, RESTARTS } from "../faults/support/restarts.ts";

/** How long it runs: minutes in CI, a day by hand (`KTF_SOAK_MINUTES=1440`). */
const SOAK_MS = fromEnvironment("KTF_SOAK_MINUTES", 2) * 60_000;
/** How long each process lives at most, milliseconds, and how many there are at least. */
const LONGEST_LIFE_MS = 600_000;
const LEAST_LIVES = 4;
/** Guests that stay for as long as the test runs, and those that come and go at any moment. */
const STAYING = 10;
const PASSING = 10;
/** How long one that comes and goes stays at most, milliseconds. */
const LONGEST_VISIT_MS = 1_500;
/** How far apart guests' ids are: more than any of them sends. */
const IDS_PER_GUEST = 1_000_000;
/** How long the collector stays in a mood at most, milliseconds, and how long it then answers as it should. */
const LONGEST_MOOD_MS = 1_000;
const GOOD_MS = 1_000;
/** How much of a life passes before it is measured for the first time, because the runtime is still compiling. */
const WARM_SHARE = 0.3;
/** How long an idle process is watched for what wakes it up, milliseconds. */
const IDLE_MS = 2_000;
/** Connections to the collector, and the like, which come and go. */
const SPARE_DESCRIPTORS = 8;
/** What an unhurried garbage collector may leave, MiB. */
const SPARE_MIB = 40;
/** Times that an idle process is woken up beside what its timers do, in one second. */
const SPARE_WAKEUPS = 50;

const MOODS: readonly Answer[] = [
  { kind: "status", status: 503 },
  { kind: "status", status: 429 },
  { kind: "hang" },
  { kind: "reset" },
  { kind: "reset", takes: true },
];

/** What must not grow. */
interface Size {
  readonly descriptors: number;
  readonly mib: number;
  /** How often it is woken up in a second while nothing happens: a timer that is left behind shows here. */
  readonly wakeups: number;
}

function wakeupsOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1]);
}

/** A node under load, on which nothing stays as it is. */
class Soak implements AsyncDisposable {
  readonly manager = new ServiceManagerStandIn();
  readonly sandbox = new Sandbox();
  readonly farEnd: FarEnd;
  readonly random = new Random(24);
  readonly staying: LoadGuest[] = [];
  readonly #passing = new Set<LoadGuest>();
  #guests = 0;
  /** Spans that guests wrote whole, that arrived, and that arrived once more. */
  sent = 0;
  arrived = 0;
  duplicates = 0;
  visits = 0;
  readings = 0;
  #forwarder: Forwarder | undefined;
  #equation: Equation | undefined;
  readonly #args: readonly string[];

  constructor(farEnd: FarEnd) {
    this.farEnd = farEnd;
    this.#args = [
      ...["--socket-path", this.sandbox.socketPath, "--otlp-endpoint", farEnd.url, "--metrics", "127.0.0.1:0"],
      ...["--spool-dir", this.sandbox.path("spool"), "--take-over", this.sandbox.path("take-over")],
    ];
  }

  get forwarder(): Forwarder {
    return this.#forwarder ?? assert.fail("no forwarder has been started");
  }

  async start(isBeside: boolean): Promise<void> {
    const env = { OTEL_EXPORTER_OTLP_TIMEOUT: "500" };
    const forwarder = this.manager.launch(this.#args, { env }, isBeside);
    await forwarder.record("listening");
    this.#forwarder = forwarder;
    this.#equation = new Equation(forwarder);
  }

  /** Ends one process and starts the next one. Guests that stay must not notice. */
  async restart(how: Restart): Promise<void> {
    const { forwarder } = this;
    await this.#stopReading();
    if (how === "take-over") {
      await this.start(true);
      assert.deepEqual(await forwarder.exited, CLEAN);
      return;
    }
    const { signal } = await forwarder.stop(how === "kill" ? "SIGKILL" : "SIGTERM");
    assert.equal(signal, how === "kill" ? "SIGKILL" : null);
    await this.start(false);
  }

  /** Guests come and go, and the collector fails and recovers, until a moment. */
  async live(end: number): Promise<void> {
    const { farEnd, random } = this;
    if (this.staying.length === 0) {
      for (let i = 0; i < STAYING; i++) this.staying.push(this.#newGuest());
    }
    while (performance.now() < end) {
      const mood = random.pick(MOODS);
      farEnd.answer = () => mood;
      await this.#visit(random.below(LONGEST_MOOD_MS));
      farEnd.answer = () => ({ kind: "ok" });
      await this.#visit(GOOD_MS);
    }
  }

  /** Resolves when the connections of all guests that stay are stored: before that they end with their process. */
  async stored(): Promise<void> {
    const count = (): number => this.manager.names.filter((name) => name.startsWith("guest|")).length;
    await until(() => count() >= STAYING, "every connection is stored");
  }

  /** Ends the load, waits until everything is delivered, and measures. */
  async measure(): Promise<Size> {
    await this.#calm();
    const { forwarder: { pid } } = this;
    const before = wakeupsOf(pid);
    await sleep(IDLE_MS);
    const wakeups = (wakeupsOf(pid) - before) / (IDLE_MS / 1000);
    return { descriptors: descriptorsOf(pid), mib: residentMiB(pid), wakeups };
  }

  /** Every span that a guest wrote whole is at the collector. */
  async #calm(): Promise<void> {
    await Promise.all([...this.staying, ...this.#passing].map((guest) => guest.stop()));
    const all = [...this.staying.splice(0), ...this.#passing];
    this.#passing.clear();
    this.sent += all.reduce((sum, guest) => sum + guest.count(), 0);
    this.farEnd.answer = () => ({ kind: "ok" });
    // What is left of a connection whose guest has gone is read until its end.
    await until(async () => await this.forwarder.metric("guests") === 0, "all guests have gone");
    await until(async () => (await this.forwarder.figures()).held === 0, "nothing is held");
    assert.equal(all.filter(({ connections }) => connections > 1).length, 0, "nobody was disconnected");
    this.arrived += this.farEnd.spans;
    this.duplicates += this.farEnd.duplicates;
    // Otherwise a long test would fill the machine's memory with what it counts.
    this.farEnd.arrivals.clear();
    this.farEnd.requests.length = 0;
  }

  async #visit(ms: number): Promise<void> {
    const end = performance.now() + ms;
    while (performance.now() < end) {
      while (this.#passing.size < PASSING) {
        const guest = this.#newGuest();
        this.#passing.add(guest);
        this.visits++;
        setTimeout(() => {
          if (!this.#passing.has(guest)) return;
          void guest.stop().then(() => {
            if (this.#passing.delete(guest)) this.sent += guest.count();
          });
        }, this.random.below(LONGEST_VISIT_MS));
      }
      await sleep(20);
    }
  }

  #newGuest(): LoadGuest {
    const first = 1 + this.#guests++ * IDS_PER_GUEST;
    return new LoadGuest(this.sandbox.address, first, { frames: 5, everyMs: 50, bytes: 500 });
  }

  async #stopReading(): Promise<void> {
    await this.#equation?.stop();
    this.readings += this.#equation?.readings ?? 0;
    this.#equation = undefined;
  }

  async end(): Promise<void> {
    await this.#stopReading();
    assert.deepEqual(await this.forwarder.stop(), CLEAN);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.staying, ...this.#passing].map((guest) => guest.stop()));
    await this.#forwarder?.[Symbol.asyncDispose]();
    await this.farEnd[Symbol.asyncDispose]();
    this.sandbox[Symbol.dispose]();
    this.manager[Symbol.dispose]();
  }
}

test(`${SOAK_MS / 60_000} minutes of guests that come and go, restarts and faults: nothing grows`, async () => {
  await using soak = new Soak(await FarEnd.start());
  const lives = Math.max(LEAST_LIVES, Math.ceil(SOAK_MS / LONGEST_LIFE_MS));
  const lifeMs = SOAK_MS / lives;
  await soak.start(false);
  let kills = 0;
  for (let life = 0; life < lives; life++) {
    const begun = performance.now();
    await soak.live(begun + lifeMs * WARM_SHARE);
    const early = await soak.measure();
    await soak.live(begun + lifeMs);
    const late = await soak.measure();
    const figures = {
      life,
      ...prefixed("early", early),
      ...prefixed("late", late),
      stored: soak.manager.names.length,
      missing: soak.sent - soak.arrived,
    };
    report("soak", figures);
    assert.ok(late.descriptors <= early.descriptors + SPARE_DESCRIPTORS, JSON.stringify(figures));
    assert.ok(late.mib <= early.mib + SPARE_MIB, JSON.stringify(figures));
    assert.ok(late.wakeups <= 2 * early.wakeups + SPARE_WAKEUPS, JSON.stringify(figures));
    // Only the listening socket and the log of what is read are left where there are no guests.
    assert.ok(figures.stored <= 2, JSON.stringify(soak.manager.names));
    // Guests that stay keep sending while one process follows the other.
    await soak.live(0);
    await soak.stored();
    const how = RESTARTS[life % RESTARTS.length] ?? assert.fail();
    if (how === "kill") kills++;
    await soak.restart(how);
  }
  await soak.measure();
  await soak.end();
  const lost = Math.max(0, soak.sent - soak.arrived);
  report("soak", {
    minutes: SOAK_MS / 60_000,
    guests: soak.visits + STAYING * (2 * lives + 1),
    sent: soak.sent,
    lost,
    kills,
    "came once more": soak.duplicates,
    "readings of the equation": soak.readings,
  });
  assert.equal(lost, 0);
  assert.ok(soak.readings > 0);
}, { timeoutMs: 3 * SOAK_MS + 300_000 });

function prefixed(prefix: string, size: Size): Record<string, number> {
  return Object.fromEntries(Object.entries(size).map(([name, value]) => [`${name} ${prefix}`, Math.round(value)]));
}
