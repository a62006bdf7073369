import { once } from "node:events";
import { chmodSync, copyFileSync, existsSync } from "node:fs";
import net from "node:net";
import { basename, join } from "node:path";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { IS_ROOT, NOBODY } from "../../test/support/root.ts";
import { spanSizes } from "./decode.ts";
import { type LoadEncoding, shares } from "./frames.ts";
import { machineSeconds, mainThreadSeconds, processSeconds, residentMb } from "./machine.ts";
import { type Contender, startCollector, startEmpty, startFloor, startRust, type System } from "./contenders.ts";
import { type InstructionCounter, readInstructions } from "./instruction-counter.ts";
import { EXECUTABLE, type Launcher, startForwarder, startLoad, startStub, type Stub } from "./processes.ts";

/** How long an idle process is busy with its start, milliseconds. */
const SETTLE_MS = 1500;
/** How many silent guests are connected, and how many of them at a time. */
const IDLE_GUESTS = 1000;
const IDLE_GUESTS_AT_ONCE = 50;
/** A queue that has not grown for this long is full, milliseconds. */
const FULL_AFTER_MS = 3000;
/**
 * The number of guests while latency is measured, and for how long they send, seconds: first to warm up, and then to
 * measure.
 */
const PACED_GUESTS = 10;
const WARM_UP_SECONDS = 3;
const PACED_SECONDS = 10;

/** What is sent. */
export interface LoadOptions {
  readonly fixture: string;
  readonly spanBytes: number;
  readonly guests: number;
  readonly spans: number;
  /** Whether each guest is a sandbox of its own; else all are one account. */
  readonly areSandboxes?: boolean;
}

/** How the forwarder, or another system, sends; default: over HTTP and from memory. */
export interface Way {
  readonly protocol?: "grpc";
  readonly spooled?: boolean;
  readonly compression?: "gzip";
  readonly system?: System;
  readonly launcher?: Launcher;
  /** A copy of the forwarder's executable. */
  readonly executable?: string;
}

/** A forwarder under as much load as it takes. */
export interface LoadRun {
  /** Of the forwarder, all threads, from the first connection to the last span's receipt. */
  readonly cpuPerMillion: number;
  readonly millionPerSecond: number;
  readonly peakMb: number;
  /** How much of one core the forwarder's main thread and the other two processes took. */
  readonly busy: { readonly forwarder: number; readonly load: number; readonly stub: number };
  /** How much of one core everything else on the machine took. */
  readonly others: number;
}

/** Instructions in user mode, for a million spans. */
export interface InstructionRun {
  /** Of all threads, from the start of the process to the last span's receipt. */
  readonly total: number;
  readonly mainThread: number;
  /** Before the first connection. */
  readonly start: number;
}

/** Runs the forwarder's processes in one directory against one stub. */
export class WholeProcess {
  readonly #directory: string;
  readonly #stub: Stub;
  #runs = 0;

  constructor(directory: string, stub: Stub) {
    this.#directory = directory;
    this.#stub = stub;
  }

  /** Starts a system, a new process each time. */
  start(way: Way = {}, fixture = "load", encoding: LoadEncoding = "bincode", sandboxes = 1): Promise<Contender> {
    const { protocol, spooled = false, compression, system = "forwarder", launcher, executable } = way;
    const path = (kind: string): string => join(this.#directory, `${this.#runs}.${kind}`);
    this.#runs++;
    const options = {
      ...(protocol === "grpc" ? { protocol, port: this.#stub.grpcPort } : { port: this.#stub.port }),
      ...(spooled && { spool: path("spool") }),
      ...(compression !== undefined && { compression }),
      ...(launcher !== undefined && { launcher }),
      ...(executable !== undefined && { executable }),
    };
    switch (system) {
      case "forwarder":
        return startForwarder(path("sock"), { ...options, sandboxes });
      case "rust":
        return startRust(path("sock"), encoding, options);
      case "collector":
        return startCollector(path("collector"), options);
      case "floor":
        return startFloor(path("sock"), fixture, encoding, options);
      case "empty":
        return startEmpty(path("sock"), join(this.#directory, "empty"));
    }
  }

  /** Sends spans as fast as they are read, each time to a new forwarder. */
  async load(encoding: LoadEncoding, options: LoadOptions, way: Way = {}): Promise<LoadRun> {
    const { before, after, load, peakMb } = await this.#send(encoding, options, way, (...used) => this.#used(...used));
    const wall = after.at - before.at;
    const cpu = after.forwarder - before.forwarder;
    const stubCpu = after.stub - before.stub;
    const ours = cpu + stubCpu + load.cpuSeconds + after.bench - before.bench;
    return {
      cpuPerMillion: cpu / (options.spans / 1e6),
      millionPerSecond: options.spans / wall / 1e6,
      peakMb,
      busy: {
        forwarder: (after.main - before.main) / wall,
        load: load.cpuSeconds / wall,
        stub: stubCpu / wall,
      },
      others: Math.max(0, (after.machine - before.machine - ours) / wall),
    };
  }

  /** The same, but instructions are counted instead of time. */
  async instructions(
    encoding: LoadEncoding,
    options: LoadOptions,
    way: Way,
    counter: InstructionCounter,
  ): Promise<InstructionRun> {
    const counts = join(this.#directory, `${this.#runs}.instructions`);
    // QEMU's user mode has no seccomp, which the forwarder demands as root.
    const becomesNobody = isForwarder(way) && IS_ROOT;
    const launcher = { ...counter.launcher(counts), ...(becomesNobody && { user: NOBODY }) };
    const { before, after } = await this.#send(
      encoding,
      options,
      { ...way, launcher, ...(becomesNobody && { executable: this.#readableExecutable() }) },
      (pid) => readInstructions(counts, pid),
    );
    const perMillion = (from: number, to: number): number => from + (to - from) / (options.spans / 1e6);
    return {
      start: before.total,
      total: perMillion(before.total, after.total),
      mainThread: perMillion(before.mainThread, after.mainThread),
    };
  }

  /** A copy of the executable that every user can read, wherever the project is. */
  #readableExecutable(): string {
    const copy = join(this.#directory, basename(EXECUTABLE));
    if (!existsSync(copy)) {
      copyFileSync(EXECUTABLE, copy);
      chmodSync(copy, 0o755);
    }
    return copy;
  }

  /** Sends spans to a new process, whose use of something is read before and afterwards. Throws if one is lost. */
  async #send<Used>(
    encoding: LoadEncoding,
    options: LoadOptions,
    way: Way,
    readUsed: (pid: number, stubCpuSeconds: number) => Used,
  ) {
    const stub = this.#stub;
    const forwarder = await this.start(way, options.fixture, encoding, options.areSandboxes ? options.guests : 1);
    const { pid, sockets, otlpPort } = forwarder;
    await sleep(SETTLE_MS);
    await stub.reset();
    const before = readUsed(pid, (await stub.figures()).cpuSeconds);
    const { fixture, spanBytes, guests, spans } = options;
    const load = await startLoad({
      ...{ sockets, encoding, rate: 0, fixture, spanBytes, guests, spans },
      ...(otlpPort !== undefined && { otlpPort }),
    }).figures;
    const received = await stub.waitFor(options.spans);
    const after = readUsed(pid, received.cpuSeconds);
    const { peak } = residentMb(pid);
    const code = await forwarder.stop();
    if (isForwarder(way) && code !== 0) throw new Error("the forwarder lost spans");
    // The others encode differently, and what is over the limit of a value is cut.
    const expected = isForwarder(way) && options.fixture !== "file" ? expectedBytes(encoding, options) : received.bytes;
    if (received.spans !== options.spans || received.bytes !== expected) {
      throw new Error(
        `${received.spans} spans of ${received.bytes} bytes arrived, not ${options.spans} of ${expected}`,
      );
    }
    return { before, after, load, peakMb: peak };
  }

  #used(pid: number, stub: number) {
    const { user, system } = process.cpuUsage();
    return {
      at: performance.now() / 1000,
      forwarder: processSeconds(pid),
      main: mainThreadSeconds(pid),
      machine: machineSeconds(),
      bench: (user + system) / 1e6,
      stub,
    };
  }

  /** An idle process: how soon it listened, milliseconds, and its memory, MB. */
  async idle(system: System = "forwarder") {
    const forwarder = await this.start({ system });
    await sleep(SETTLE_MS);
    const { now } = residentMb(forwarder.pid);
    await (system === "forwarder" ? forwarder.stop() : forwarder.kill());
    return { startMs: forwarder.startMs, residentMb: now };
  }

  /** A forwarder's memory with a thousand silent guests, MB. */
  async idleGuests(): Promise<number> {
    const forwarder = await this.start();
    const sockets: net.Socket[] = [];
    while (sockets.length < IDLE_GUESTS) {
      const [socket = ""] = forwarder.sockets;
      const more = Array.from({ length: IDLE_GUESTS_AT_ONCE }, () => net.connect(socket));
      await Promise.all(more.map((socket) => once(socket, "connect")));
      sockets.push(...more);
    }
    await sleep(SETTLE_MS);
    const { now } = residentMb(forwarder.pid);
    for (const socket of sockets) socket.destroy();
    await forwarder.stop();
    return now;
  }

  /** A forwarder's peak memory if the collector is away and guests send until its queue is full, MB. */
  async collectorAway(options: LoadOptions): Promise<number> {
    const stub = await startStub();
    const forwarder = await startForwarder(join(this.#directory, "away.sock"), stub);
    stub.stop();
    // More than the queue holds.
    const { sockets, pid } = forwarder;
    const { child, figures } = startLoad({ sockets, encoding: "bincode", rate: 0, ...options });
    let peak = 0;
    for (let since = performance.now(); performance.now() - since < FULL_AFTER_MS;) {
      await sleep(100);
      const now = residentMb(pid).peak;
      if (now > peak) since = performance.now();
      peak = now;
    }
    await forwarder.kill();
    child.kill();
    await figures.catch(() => undefined);
    return peak;
  }

  /** The time from a guest's write to the collector's receipt at this many spans a second, milliseconds. */
  async latency(fixture: string, encoding: LoadEncoding, rate: number) {
    const forwarder = await this.start();
    const send = async (seconds: number) => {
      const spans = rate * seconds;
      await this.#stub.reset(true);
      await startLoad({
        sockets: forwarder.sockets,
        fixture,
        encoding,
        spanBytes: 0,
        guests: PACED_GUESTS,
        spans,
        rate,
      }).figures;
      return await this.#stub.waitFor(spans);
    };
    await send(WARM_UP_SECONDS);
    const before = processSeconds(forwarder.pid);
    const { latencyMs } = await send(PACED_SECONDS);
    const cpuPerMillion = (processSeconds(forwarder.pid) - before) / (rate * PACED_SECONDS / 1e6);
    await forwarder.stop();
    return { ...latencyMs, cpuPerMillion };
  }
}

function isForwarder({ system = "forwarder" }: Way): boolean {
  return system === "forwarder";
}

/** What the stub must have counted. If it has not, spans were lost, or the stub does not count. */
function expectedBytes(
  encoding: LoadEncoding,
  { fixture, spanBytes, spans, guests }: LoadOptions,
): number {
  const sizes = spanSizes(fixture, encoding, spanBytes);
  const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
  return sum(
    shares(spans, guests).map((count) =>
      Math.floor(count / sizes.length) * sum(sizes) + sum(sizes.slice(0, count % sizes.length))
    ),
  );
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
