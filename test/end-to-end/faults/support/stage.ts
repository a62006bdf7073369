import assert from "node:assert/strict";
import { Forwarder, startForwarder } from "../../../process/support/forwarder.ts";
import { type RunOptions } from "../../../process/support/process.ts";
import { until } from "../../../support/until.ts";
import { Sandbox } from "../../../process/support/sandbox.ts";
import { Equation } from "./equation.ts";
import { FarEnd } from "./far-end.ts";
import { LoadGuest, type Pace } from "./load.ts";

/** How far apart guests' ids are: more than any of them sends. */
const IDS_PER_GUEST = 10_000_000;

/** Requests are small, so that many are under way when something breaks, and are given up soon. */
const ENVIRONMENT = {
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "64",
  OTEL_BSP_SCHEDULE_DELAY: "20",
  OTEL_EXPORTER_OTLP_TIMEOUT: "500",
};

/** What differs from stage to stage. */
export interface StageSettings {
  /** Further arguments, which may name files in the sandbox's directory. */
  readonly args?: (sandbox: Sandbox) => readonly string[];
  /** How the process is run. */
  readonly run?: RunOptions;
  /** Default: a new one. */
  readonly farEnd?: FarEnd;
  /** Default: the far end's. */
  readonly endpoint?: string;
}

/** Arguments for a spool in the sandbox's directory. */
export function spooled(sandbox: Sandbox): string[] {
  return ["--spool-dir", sandbox.path("spool")];
}

/** A sandbox's socket, a collector that can fail, and forwarders between them, one after the other. */
export class Stage implements AsyncDisposable {
  readonly sandbox = new Sandbox();
  readonly farEnd: FarEnd;
  readonly guests: LoadGuest[] = [];
  readonly #args: readonly string[];
  readonly #run: RunOptions;
  #forwarder: Forwarder | undefined;

  private constructor(farEnd: FarEnd, settings: StageSettings) {
    this.farEnd = farEnd;
    const { args, endpoint = farEnd.url, run = {} } = settings;
    this.#run = { ...run, env: { ...ENVIRONMENT, ...run.env } };
    this.#args = [
      ...["--socket-path", this.sandbox.socketPath, "--otlp-endpoint", endpoint],
      ...["--metrics", "0", "--shutdown-timeout", "30s"],
      ...args?.(this.sandbox) ?? [],
    ];
  }

  static async open(settings: StageSettings = {}): Promise<Stage> {
    return new Stage(settings.farEnd ?? await FarEnd.start(), settings);
  }

  /** The forwarder started last. */
  get forwarder(): Forwarder {
    return this.#forwarder ?? assert.fail("no forwarder has been started");
  }

  /** Starts a forwarder; resolves when it listens. @param run what differs this time. */
  async start(run: RunOptions = {}): Promise<Forwarder> {
    return this.#forwarder = await startForwarder(this.#args, { ...this.#run, ...run });
  }

  /** Starts a forwarder without waiting. */
  launch(): Forwarder {
    return this.#forwarder = new Forwarder(this.#args, this.#run);
  }

  watch(): Equation {
    return new Equation(this.forwarder);
  }

  /** Has one more guest send. */
  load(pace: Pace = {}): LoadGuest {
    const guest = new LoadGuest(
      this.sandbox.address,
      1 + this.guests.length * IDS_PER_GUEST,
      pace,
    );
    this.guests.push(guest);
    return guest;
  }

  async stopLoad(): Promise<void> {
    await Promise.all(this.guests.map((guest) => guest.stop()));
  }

  /** How many spans guests have written whole. */
  get sent(): number {
    return this.guests.reduce((sum, guest) => sum + guest.count(), 0);
  }

  /** Ids of spans written whole that the collector has not. */
  missing(before = Infinity): string[] {
    return this.guests.flatMap((guest) => guest.ids(before)).filter((id) => !this.farEnd.arrivals.has(id));
  }

  /** Waits until all that was written whole has arrived, and asserts that nothing else has. */
  async assertAllArrive(): Promise<void> {
    await until(() => this.missing().length === 0, "all spans that guests have written arrive");
    this.assertNothingElse();
  }

  /** Asserts that the collector has no span that no guest has sent. */
  assertNothingElse(): void {
    const strangers = [...this.farEnd.arrivals.keys()].filter((id) => {
      const number = parseInt(id, 16);
      return !this.guests.some(({ first, next }) => number >= first && number < next);
    });
    assert.deepEqual(strangers, []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([
      this.#forwarder?.[Symbol.asyncDispose](),
      ...this.guests.map((guest) => guest.stop()),
    ]);
    await this.farEnd[Symbol.asyncDispose]();
    this.sandbox[Symbol.dispose]();
  }
}
