import { forgetOldest } from "../../base/forget-oldest.ts";
import { PassThroughSink } from "../../pipeline/pass-through-sink.ts";
import type { SourceSink, SpanSink } from "../../pipeline/sink.ts";
import type { Source } from "../../pipeline/source.ts";
import { Subscribers } from "../../pipeline/subscribers.ts";

/** The Rust runtime's service is named by this and the first characters of the sandbox's ID. */
const SERVICE_NAME = /^kata-sb-([a-zA-Z0-9][a-zA-Z0-9_.-]{7})$/;
const SANDBOX_ATTRIBUTE = "kata.sandbox.id";
/** Sandboxes that are remembered after their last source has gone: a runtime's last spans come after its guest's. */
const MAX_GONE = 1024;

/** Whether the Rust runtime could have named its service so. */
export function isRuntimeService(serviceName: string): boolean {
  return SERVICE_NAME.test(serviceName);
}

/** Which sandboxes there are, from the sources that receivers open, and from runtimes that were seen to run. */
export class KnownSandboxes {
  /** How many sources each sandbox has. */
  readonly #present = new Map<string, number>();
  readonly #gone = new Set<string>();
  #running: ReadonlySet<string> = new Set();
  readonly #subscribers = new Subscribers<[]>();

  /** The sandbox that a service of the Rust runtime is of; undefined if none or more than one could be meant. */
  ofService(serviceName: string): string | undefined {
    const [, prefix] = SERVICE_NAME.exec(serviceName) ?? [];
    if (prefix === undefined) return undefined;
    let found: string | undefined;
    for (const ids of [this.#present.keys(), this.#gone, this.#running]) {
      for (const id of ids) {
        if (!id.startsWith(prefix) || id === found) continue;
        if (found !== undefined) return undefined;
        found = id;
      }
    }
    return found;
  }

  /** Notes the sandboxes whose runtimes run, in the place of those that were noted before. */
  noteRunning(ids: ReadonlySet<string>): void {
    this.#running = ids;
    this.#subscribers.notify();
  }

  /** Calls `onChange` whenever there may be a new one. Returns what ends the subscription. */
  subscribe(onChange: () => void): () => void {
    return this.#subscribers.add(onChange);
  }

  /** A sink that notes the sandboxes of the sources opened through it, and hands everything through. */
  watch(sink: SpanSink): SpanSink {
    return new WatchedSink(sink, (source) => this.#open(source, sink));
  }

  #open(source: Source, sink: SpanSink): SourceSink {
    const opened = sink.open(source);
    const id = source.attributes.get(SANDBOX_ATTRIBUTE);
    if (typeof id !== "string") return opened;
    const sources = this.#present.get(id) ?? 0;
    this.#present.set(id, sources + 1);
    this.#gone.delete(id);
    if (sources === 0) this.#subscribers.notify();
    let isOpen = true;
    return {
      accept: (spans) => opened.accept(spans),
      settled: () => opened.settled(),
      close: () => {
        if (isOpen) this.#close(id);
        isOpen = false;
        opened.close();
      },
    };
  }

  #close(id: string): void {
    const sources = (this.#present.get(id) ?? 1) - 1;
    if (sources > 0) {
      this.#present.set(id, sources);
      return;
    }
    this.#present.delete(id);
    this.#gone.add(id);
    forgetOldest(this.#gone, MAX_GONE);
  }
}

/** A sink whose sources are opened in another way. */
class WatchedSink extends PassThroughSink {
  readonly #open: (source: Source) => SourceSink;

  constructor(sink: SpanSink, open: (source: Source) => SourceSink) {
    super(sink);
    this.#open = open;
  }

  override open(source: Source): SourceSink {
    return this.#open(source);
  }
}
