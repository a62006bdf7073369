import type { HttpConnection } from "../../http/messages.ts";
import type { SandboxLookup } from "../../pipeline/sandbox-lookup.ts";
import type { SourceSink, SpanSink } from "../../pipeline/sink.ts";
import type { Source } from "../../pipeline/source.ts";

/** Sandboxes that one connection may speak for: a shim has one, a relay many. More are taken for unknown ones. */
const MAX_SANDBOXES = 256;

interface OpenSource {
  sink: SourceSink;
  /** Whether everything is known of the sandbox that will be. */
  isDescribed: boolean;
  readonly connections: Set<HttpConnection>;
}

/** The sources that runtimes are: one for each sandbox, and one for all whose sandbox is not known. */
export class RuntimeSources {
  readonly #sink: SpanSink;
  readonly #lookup: SandboxLookup | undefined;
  readonly #open = new Map<string | undefined, OpenSource>();
  readonly #sandboxesOf = new Map<HttpConnection, Set<string | undefined>>();

  /** @param lookup what the host knows of sandboxes; undefined: nothing. */
  constructor(sink: SpanSink, lookup: SandboxLookup | undefined) {
    this.#sink = sink;
    this.#lookup = lookup;
  }

  /** The way in for spans of a sandbox that come over a connection. */
  get(sandbox: string | undefined, connection: HttpConnection): SourceSink {
    let sandboxes = this.#sandboxesOf.get(connection);
    if (sandboxes === undefined) this.#sandboxesOf.set(connection, sandboxes = new Set());
    if (sandboxes.size >= MAX_SANDBOXES && !sandboxes.has(sandbox)) sandbox = undefined;
    let source = this.#open.get(sandbox);
    if (source?.isDescribed !== true) source = this.#openSource(sandbox, source);
    sandboxes.add(sandbox);
    source.connections.add(connection);
    return source.sink;
  }

  /** Opens a source, or opens one anew if more is known of its sandbox now. */
  #openSource(sandbox: string | undefined, earlier: OpenSource | undefined): OpenSource {
    const attributes = sandbox === undefined ? new Map<string, string>() : this.#lookup?.known(sandbox);
    const isDescribed = attributes !== undefined || this.#lookup === undefined;
    if (earlier !== undefined && !isDescribed) return earlier;
    const sink = this.#sink.open(runtimeSource(sandbox, attributes));
    if (sandbox !== undefined && !isDescribed) void this.#lookup?.find(sandbox);
    if (earlier === undefined) {
      const source = { sink, isDescribed, connections: new Set<HttpConnection>() };
      this.#open.set(sandbox, source);
      return source;
    }
    earlier.sink.close();
    earlier.sink = sink;
    earlier.isDescribed = true;
    return earlier;
  }

  /** A connection has ended: sources that came over it alone are gone. */
  disconnected(connection: HttpConnection): void {
    for (const sandbox of this.#sandboxesOf.get(connection) ?? []) {
      const source = this.#open.get(sandbox);
      source?.connections.delete(connection);
      if (source === undefined || source.connections.size > 0) continue;
      this.#open.delete(sandbox);
      source.sink.close();
    }
    this.#sandboxesOf.delete(connection);
  }

  /** No more spans come. */
  closeAll(): void {
    for (const { sink } of this.#open.values()) sink.close();
    this.#open.clear();
    this.#sandboxesOf.clear();
  }
}

/** A runtime's spans keep their `service.name`; only that of a guest's spans is set by the forwarder. */
function runtimeSource(sandbox: string | undefined, known: ReadonlyMap<string, string> = new Map()): Source {
  const attributes = new Map([["kata.component", "runtime"], ...known]);
  if (sandbox !== undefined) attributes.set("kata.sandbox.id", sandbox);
  return {
    kind: "runtime",
    name: sandbox ?? "runtime",
    account: sandbox === undefined ? "runtime" : `runtime:${sandbox}`,
    attributes,
  };
}
