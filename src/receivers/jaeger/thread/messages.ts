import type { LogLevel } from "../../../base/log.ts";
import type { JaegerBatch } from "../../../decode/jaeger-thrift/decoder.ts";
import type { ListenAddress } from "../../../http/listen-error.ts";
import type { PackedSpans } from "../../../otlp/encoded-spans.ts";
import type { InvalidReason } from "../../../pipeline/invalid-reason.ts";
import type { DroppedBatches } from "../endpoint.ts";

/** What the main thread tells the one that answers runtimes. */
export type ToThread =
  /** Answered with `listening` or `not-listening`. */
  | { readonly type: "listen"; readonly address: ListenAddress }
  | { readonly type: "begin" }
  /** So many bytes of what was sent have been taken. */
  | { readonly type: "taken"; readonly bytes: number }
  /** Answered with `closed`, after everything that runtimes were answered for. */
  | { readonly type: "stop"; readonly timeoutMs: number }
  | { readonly type: "close" };

/** What the thread that answers runtimes tells the main one. Connections have numbers. */
export type FromThread =
  | { readonly type: "started" }
  | { readonly type: "listening"; readonly bound: ListenAddress }
  | { readonly type: "not-listening"; readonly code: string | undefined; readonly message: string }
  | {
    readonly type: "connected";
    readonly connection: number;
    readonly ends: {
      readonly remoteAddress: string;
      readonly remotePort: number;
      readonly localAddress: string;
      readonly localPort: number;
    };
  }
  | { readonly type: "disconnected"; readonly connection: number }
  | BatchMessage
  | DroppedMessage
  | { readonly type: "invalid"; readonly reason: InvalidReason; readonly bodyBytes: number }
  | { readonly type: "log"; readonly level: LogLevel; readonly message: string; readonly fields: PlainFields }
  | { readonly type: "closed" };

export interface BatchMessage {
  readonly type: "batch";
  readonly connection: number;
  readonly batch: JaegerBatch;
  readonly bodyBytes: number;
  readonly spans: PackedSpans;
  /** What it counts for until it has been taken, bytes. */
  readonly size: number;
}

/** What made room for newer batches. */
export interface DroppedMessage extends DroppedBatches {
  readonly type: "dropped";
}

/** Fields of a record, as they can be sent. */
export type PlainFields = Readonly<Record<string, string | number | boolean | undefined>>;
