import type { HttpConnection } from "../../http/messages.ts";
import type { SourceSink, SpanSink } from "../../pipeline/sink.ts";

/** Everything that comes from this machine shares one account, because nothing tells its programs from each other. */
const LOCAL_ACCOUNT = "host";
const LOOPBACK = /^(?:::1|(?:::ffff:)?127\.\d+\.\d+\.\d+)$/i;

interface OpenSource {
  readonly sink: SourceSink;
  readonly connections: Set<HttpConnection>;
}

/** The sources that other programs are: one for each address that they come from. */
export class HostSources {
  readonly #sink: SpanSink;
  readonly #open = new Map<string, OpenSource>();

  constructor(sink: SpanSink) {
    this.#sink = sink;
  }

  /** Whether spans that come over a connection have to be refused for now. */
  isPaused(connection: HttpConnection): boolean {
    return this.#sink.isPaused(accountOf(connection));
  }

  /** The way in for spans that come over a connection. */
  get(connection: HttpConnection): SourceSink {
    const account = accountOf(connection);
    let source = this.#open.get(account);
    if (source === undefined) {
      const sink = this.#sink.open({ kind: "host", name: account, account, attributes: new Map() });
      source = { sink, connections: new Set() };
      this.#open.set(account, source);
    }
    source.connections.add(connection);
    return source.sink;
  }

  disconnected(connection: HttpConnection): void {
    const account = accountOf(connection);
    const source = this.#open.get(account);
    if (source === undefined || !source.connections.delete(connection) || source.connections.size > 0) return;
    this.#open.delete(account);
    source.sink.close();
  }

  /** No more spans come. */
  closeAll(): void {
    for (const { sink } of this.#open.values()) sink.close();
    this.#open.clear();
  }
}

function accountOf({ remoteAddress }: HttpConnection): string {
  return remoteAddress === "" || LOOPBACK.test(remoteAddress) ? LOCAL_ACCOUNT : `${LOCAL_ACCOUNT}:${remoteAddress}`;
}
