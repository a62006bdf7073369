import { forgetOldest } from "../../base/forget-oldest.ts";
import type { Logger } from "../../base/log.ts";
import type { Metrics, ReceiverMetrics } from "../../pipeline/metrics.ts";
import type { SpanSink } from "../../pipeline/sink.ts";
import type { Source } from "../../pipeline/source.ts";
import { JoinedSandbox, type SavedSandbox } from "./joined-sandbox.ts";
import { KnownSpansBudget } from "./missing-parents.ts";
import { sendOwnSpans } from "./own-spans.ts";
import type { SandboxFile } from "./sandbox-file.ts";
import { sandboxKey } from "./sandbox-trace.ts";

/**
 * For how long nobody may be connected before a sandbox has ended, milliseconds. A guest that has gone does not come
 * back. A runtime's connection ends after 90 s without a span, and its last spans come after its guest has gone; it
 * needs up to half a minute to stop a VMM that does not answer.
 */
const GUEST_GRACE_MS = 5_000;
const RUNTIME_GRACE_MS = 40_000;
/** The same for a runtime that has no guest here, whose connection may only be idle. */
const LONE_RUNTIME_GRACE_MS = 120_000;
/** The same after a restart, in which sources may still connect again. */
const RESTORED_GRACE_MS = 40_000;

/** How soon what has changed is written down, and how soon after its grace a sandbox has ended, milliseconds. */
const TICK_MS = 1_000;

/**
 * How many own spans are sent in one turn of the event loop: it takes a few milliseconds. A guest can name a thousand
 * parents that never come, and all sandboxes of a node may end together.
 */
const MOST_SENT = 128;

/** Sandboxes at a time. Those of guests are limited by their connections, and runtimes could name any. */
const MAX_SANDBOXES = 8_192;
/** Sandboxes that are remembered after their end, so that they get no second root. */
const MAX_ENDED = 4_096;
/** Traces of runtimes whose sandbox is known. */
const MAX_RUNTIME_TRACES = 8_192;

const NS_PER_MS = 1_000_000n;

/** What the sandboxes' traces are made with. */
export interface JoinedSandboxesOptions {
  /** Takes roots. */
  readonly sink: SpanSink;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Where sandboxes survive the process; absent: nowhere. */
  readonly file?: SandboxFile | undefined;
  /** The IDs of the sandboxes whose runtime runs, so that they have not ended though nobody is connected. */
  readonly runningSandboxes?: (() => Promise<ReadonlySet<string>>) | undefined;
  /** Unix milliseconds. */
  readonly now?: () => number;
}

/** The sandboxes whose spans are joined: notes when they begin, and makes their roots when they end. */
export class JoinedSandboxes {
  readonly #options: JoinedSandboxesOptions;
  readonly #now: () => number;
  readonly #received: ReceiverMetrics;
  readonly #running = new Map<string, JoinedSandbox>();
  readonly #ended = new Set<string>();
  readonly #budget = new KnownSpansBudget();
  /** The sandboxes of traces that runtimes have begun, by the trace IDs that they have there. */
  readonly #runtimeTraces = new Map<string, JoinedSandbox>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer fires, in this clock's milliseconds. */
  #tickAt = Infinity;
  /** What is still to be sent of sandboxes that have ended. */
  readonly #sending: Generator<void>[] = [];
  /** How many own spans may still be sent in this turn of the event loop. */
  #sendable = MOST_SENT;
  #isSendScheduled = false;
  /** What writes the file, if it is being written. */
  #saving: Generator<void> | undefined;
  /** Whether it is being found out which runtimes run. */
  #isAsking = false;
  /** Set when a sandbox has ended that the file does not know of. */
  #isChanged = false;
  /** The sandboxes that others are connected to when the process stops; undefined until then. */
  #interrupted: ReadonlySet<JoinedSandbox> | undefined;

  constructor(options: JoinedSandboxesOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#received = options.metrics.receiver("join-traces");
    const saved = options.file?.load();
    for (const key of saved?.ended ?? []) this.#ended.add(key);
    for (const each of saved?.running ?? []) {
      const sandbox = new JoinedSandbox(each.key, this.#budget, each);
      sandbox.leftAt = this.#now();
      this.#running.set(each.key, sandbox);
    }
    this.#schedule();
  }

  /** The sandbox of a source that has connected; undefined if nothing says which. */
  opened(source: Source): JoinedSandbox | undefined {
    const id = source.attributes.get("kata.sandbox.id");
    if (typeof id !== "string" || source.kind === "host") return undefined;
    const key = sandboxKey(id);
    let sandbox = this.#running.get(key);
    if (sandbox === undefined) {
      if (this.#running.size >= MAX_SANDBOXES) this.#endOldest();
      sandbox = new JoinedSandbox(key, this.#budget);
      this.#running.set(key, sandbox);
    }
    sandbox.opened(source);
    this.#schedule();
    return sandbox;
  }

  /** A source of a sandbox has gone. */
  closed(sandbox: JoinedSandbox): void {
    if (--sandbox.sources > 0) return;
    sandbox.leftAt = this.#now();
    this.#schedule();
  }

  /** Something about a sandbox has changed that another process would have to know. */
  changed(): void {
    if (this.#options.file !== undefined) this.#tickBy(this.#now() + TICK_MS);
  }

  /** A runtime has a trace in a sandbox. */
  noteRuntimeTrace(traceId: string, sandbox: JoinedSandbox): void {
    if (this.#runtimeTraces.get(traceId) === sandbox) return;
    this.#runtimeTraces.delete(traceId);
    this.#runtimeTraces.set(traceId, sandbox);
    forgetOldest(this.#runtimeTraces, MAX_RUNTIME_TRACES);
  }

  /** The sandbox that a runtime's trace is of. */
  ofRuntimeTrace(traceId: string): JoinedSandbox | undefined {
    return this.#runtimeTraces.get(traceId);
  }

  /** The process is about to stop, so connections end that would not have ended otherwise. */
  stopping(): void {
    this.#interrupted ??= new Set([...this.#running.values()].filter(({ sources }) => sources > 0));
  }

  /**
   * Makes the roots of sandboxes that have ended.
   *
   * @param outlive whether another process goes on with the guests, so that sandboxes that still run have not ended.
   */
  stop(outlive: boolean): void {
    this.stopping();
    this.#stopTimer();
    const goesOn = outlive || this.#options.file !== undefined;
    for (const sandbox of [...this.#running.values()]) {
      const isLeft = this.#interrupted?.has(sandbox) === true || (sandbox.isRestored && !sandbox.wasOpened);
      if (!goesOn || !isLeft) this.#end(sandbox);
    }
    for (const sending of this.#sending.splice(0)) while (sending.next().done !== true);
    this.save();
  }

  /** Writes down what another process has to know to go on. */
  save(): void {
    this.#saving?.return(undefined);
    this.#beginSaving();
    while (this.#saving !== undefined) this.#saveMore();
  }

  #beginSaving(): void {
    this.#isChanged = false;
    this.#saving = this.#options.file?.save(saved(this.#running.values()), this.#ended);
  }

  /** Writes the next piece of the file. */
  #saveMore(): void {
    try {
      if (this.#saving?.next().done === true) this.#saving = undefined;
    } catch (error) {
      this.#saving = undefined;
      // It is tried again when there is something new to write.
      for (const sandbox of this.#running.values()) sandbox.isChanged = false;
      this.#options.log.warn("sandboxes cannot be written down: their traces' roots do not survive a restart", {
        error: error as Error,
      });
    }
  }

  /** Writes the file in as many turns of the event loop as it has pieces. */
  #saveInTurns(): void {
    if (this.#saving === undefined) this.#beginSaving();
    const saving = this.#saving;
    this.#saveMore();
    if (this.#saving !== undefined) setImmediate(() => this.#saving === saving && this.#saveInTurns());
  }

  /** Makes roots of sandboxes that have ended, and writes down what has changed. */
  tick(): void {
    this.#stopTimer();
    const due = this.#due();
    const { runningSandboxes } = this.#options;
    const mayRun = runningSandboxes === undefined ? [] : due.filter(({ hasRuntime }) => hasRuntime);
    for (const sandbox of due) if (!mayRun.includes(sandbox)) this.#end(sandbox);
    if (mayRun.length > 0 && runningSandboxes !== undefined && !this.#isAsking) {
      this.#isAsking = true;
      void runningSandboxes().then((ids) => this.#endUnless(new Set([...ids].map(sandboxKey)))).finally(() => {
        this.#isAsking = false;
        this.#schedule();
      });
    }
    if (this.#options.file !== undefined && this.#hasChanges && this.#saving === undefined) this.#saveInTurns();
    this.#schedule();
  }

  get #hasChanges(): boolean {
    return this.#isChanged || [...this.#running.values()].some((sandbox) => sandbox.isChanged);
  }

  /** Sandboxes that nobody has been connected for during their grace. */
  #due(): JoinedSandbox[] {
    const now = this.#now();
    return [...this.#running.values()].filter((each) => each.sources === 0 && now - each.leftAt >= graceOf(each));
  }

  /** @param running the keys of sandboxes whose runtime runs. */
  #endUnless(running: ReadonlySet<string>): void {
    if (this.#interrupted !== undefined) return;
    for (const sandbox of this.#due()) {
      if (!sandbox.hasRuntime) continue;
      if (running.has(sandbox.key)) sandbox.leftAt = this.#now();
      else this.#end(sandbox);
    }
  }

  /** Sets the timer for what is to be done next. While sandboxes only run there is nothing. */
  #schedule(): void {
    if (this.#options.file !== undefined && this.#hasChanges) return this.#tickBy(this.#now() + TICK_MS);
    let next = Infinity;
    for (const each of this.#running.values()) {
      if (each.sources === 0) next = Math.min(next, each.leftAt + graceOf(each));
    }
    this.#tickBy(Math.max(next, this.#now() + TICK_MS));
  }

  /** Calls {@link tick} at a time, or before. */
  #tickBy(time: number): void {
    if (time === Infinity || this.#tickAt <= time || this.#interrupted !== undefined) return;
    clearTimeout(this.#timer);
    this.#tickAt = time;
    this.#timer = setTimeout(() => this.tick(), time - this.#now());
    this.#timer.unref();
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#tickAt = Infinity;
  }

  #endOldest(): void {
    let oldest: JoinedSandbox | undefined;
    for (const sandbox of this.#running.values()) {
      if (sandbox.sources === 0) oldest = oldest === undefined || sandbox.leftAt < oldest.leftAt ? sandbox : oldest;
    }
    if (oldest !== undefined) this.#end(oldest);
  }

  #end(sandbox: JoinedSandbox): void {
    const { key } = sandbox;
    this.#running.delete(key);
    this.#isChanged = true;
    const hadRoot = this.#ended.delete(key);
    this.#ended.add(key);
    if (!hadRoot) {
      const leftAt = sandbox.sources > 0 ? this.#now() : sandbox.leftAt;
      // Nobody knows when a sandbox ended that nobody has connected for since a restart.
      const end = sandbox.isRestored && !sandbox.wasOpened ? 0n : BigInt(leftAt) * NS_PER_MS;
      this.#sending.push(sendOwnSpans(this.#options.sink, sandbox, end, () => this.#received.received++));
      this.#send();
    } else sandbox.parents.close();
    forgetOldest(this.#ended, MAX_ENDED);
  }

  /** Sends own spans, as many as may be sent in this turn of the event loop. The others follow in the next ones. */
  #send(): void {
    // `stop` sends what is left then.
    if (this.#interrupted !== undefined) return;
    for (let first = this.#sending[0]; first !== undefined && this.#sendable > 0; first = this.#sending[0]) {
      this.#sendable--;
      if (first.next().done === true) this.#sending.shift();
    }
    if (this.#sendable === MOST_SENT || this.#isSendScheduled) return;
    this.#isSendScheduled = true;
    setImmediate(() => {
      this.#isSendScheduled = false;
      this.#sendable = MOST_SENT;
      this.#send();
    });
  }
}

/** What of sandboxes is written down, as it is when its turn comes. */
function* saved(sandboxes: Iterable<JoinedSandbox>): Generator<SavedSandbox> {
  for (const sandbox of sandboxes) {
    sandbox.isChanged = false;
    yield sandbox.save();
  }
}

function graceOf({ hasGuest, hasRuntime, isRestored, wasOpened }: JoinedSandbox): number {
  if (isRestored && !wasOpened) return RESTORED_GRACE_MS;
  if (!hasRuntime) return GUEST_GRACE_MS;
  return hasGuest ? RUNTIME_GRACE_MS : LONE_RUNTIME_GRACE_MS;
}
