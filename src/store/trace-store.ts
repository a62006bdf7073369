import { readResource } from "../otlp/json-record.ts";
import { ProtobufError } from "../otlp/protobuf-reader.ts";
import { readSpanHead, type SpanHead } from "./span-head.ts";
import { type Reassignment, SandboxJoin, UNASSIGNED } from "./sandbox-join.ts";
import { moveSpan, type SandboxRow, type SpanKey } from "./move-span.ts";
import { OperationNames } from "./operation-names.ts";
import { ROW_BYTES } from "./schema.ts";
import { hashOf, packBlob, splitSpan } from "./span-body.ts";
import { type IncomingSpan, LABEL_ATTRIBUTE, type ResourceFacts, resourceFacts, sideOf } from "./span-source.ts";
import { bytesOf, StoreDatabase } from "./store-database.ts";

/** What a store may take. */
export interface StoreLimits {
  /** Of the file, bytes. */
  readonly maxBytes: number;
  /** Sandboxes that got no span for this long are removed, milliseconds. */
  readonly keepMs: number;
}

/** Spans of one sandbox that are kept; further ones are counted. */
export const MAX_SPANS_PER_SANDBOX = 20_000;
/** The share of the store that one sandbox may take while it runs. */
const SANDBOX_SHARE = 0.25;
/** Removing goes on until the store is this full, so that it is not needed for each commit. */
const LOW_WATER = 0.9;

/** What is known of a guest that connects or goes. */
export interface GuestName {
  readonly sandbox?: string | undefined;
  readonly cid?: number | undefined;
}

const NS_PER_MS = 1_000_000n;

/**
 * The node's own trace store: one SQLite file, bounded. Sandboxes are removed whole, those that got no span for longest
 * first. Writing is synchronous and belongs in a process that does not forward.
 */
export class TraceStore {
  /** For queries; the trace store alone changes it. */
  readonly database: StoreDatabase;
  readonly #limits: StoreLimits;
  readonly #ownLabel: string;
  /** The resource attribute that says which cohort a recorded sandbox belongs to. */
  readonly #labelBy: string;
  /** Of sandboxes that are new at the moment. */
  #label: string;
  readonly #join: SandboxJoin<SpanKey>;
  readonly #sandboxes = new Map<string, SandboxRow>();
  readonly #operations: OperationNames;
  #pending: Reassignment<SpanKey>[] = [];
  readonly #changed = new Set<string>();
  #lastResource: { readonly bytes: Uint8Array; readonly facts: ResourceFacts } | undefined;
  #problem: string | undefined;

  private constructor(database: StoreDatabase, limits: StoreLimits, label: string, labelBy: string = LABEL_ATTRIBUTE) {
    this.database = database;
    this.#limits = limits;
    this.#ownLabel = this.#label = label;
    this.#labelBy = labelBy;
    this.#operations = new OperationNames(database);
    this.#join = new SandboxJoin((changes) => this.#pending.push(...changes));
    this.#readSandboxes();
    for (const sid of this.#sandboxes.keys()) this.#join.remember(sid);
  }

  /**
   * Opens a store, or makes a new one; ":memory:" is one without a file. Throws a `StoreError` if the file is not a
   * store, is damaged, or is from a later version.
   *
   * @param label the cohort of sandboxes that are new from now on.
   * @param labelBy the resource attribute that says which cohort a recorded sandbox belongs to, if nothing else does.
   */
  static open(file: string, limits: StoreLimits, label = "", labelBy?: string): TraceStore {
    const database = StoreDatabase.open(file);
    return database.orClose(() => {
      // What ran when the last process ended is not connected to this one.
      database.run("UPDATE sandbox SET state = 'ended', summary_spans = -1 WHERE state = 'running'");
      return new TraceStore(database, limits, label, labelBy);
    });
  }

  /** Opens a store that another process may be writing to, to read it. Nothing of it is changed. Throws a `StoreError`. */
  static openForReading(file: string): TraceStore {
    const database = StoreDatabase.openForReading(file);
    return database.orClose(() => new TraceStore(database, { maxBytes: Infinity, keepMs: Infinity }, ""));
  }

  /** Why nothing was stored the last time, for people; undefined if all is well. */
  get problem(): string | undefined {
    return this.#problem;
  }

  get maxBytes(): number {
    return this.#limits.maxBytes;
  }

  /** These sandboxes count as changed. */
  noteChanged(sandboxes: Iterable<string>): void {
    for (const sandbox of sandboxes) this.#changed.add(sandbox);
  }

  /** The sandboxes that have changed since this was last asked. */
  takeChanged(): string[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  /**
   * Stores spans, all of them or, if the disk is full, none. Spans that are already stored, or over a sandbox's bounds,
   * are not stored again; a span that is not valid protobuf is left out.
   *
   * @param label the cohort of sandboxes that are new; default: the store's.
   * @returns how many are stored now that were not before.
   */
  add(spans: Iterable<IncomingSpan>, nowMs: number = Date.now(), label: string = this.#ownLabel): number {
    this.#label = label;
    try {
      const stored = this.#change(() => {
        let added = 0;
        for (const span of spans) if (this.#addValid(span, nowMs)) added++;
        this.#applyReassignments();
        return added;
      });
      this.#problem = undefined;
      return stored;
    } catch (error) {
      this.#problem = (error as Error).message;
      throw error;
    }
  }

  /** A guest has connected, so its sandbox runs. */
  setRunning(guest: GuestName, nowMs: number = Date.now()): void {
    this.#change(() => this.#setRunning(guest, nowMs));
  }

  #setRunning(guest: GuestName, nowMs: number): void {
    const sandbox = this.#sandbox(this.#nameOf(guest), BigInt(nowMs) * NS_PER_MS, nowMs);
    this.database.run("UPDATE sandbox SET state = 'running' WHERE id = ?", sandbox.id);
    this.#changed.add(sandbox.sid);
    this.#applyReassignments();
  }

  /** A guest's last connection has ended. */
  setEnded(guest: GuestName): void {
    this.#change(() => this.#setEnded(guest));
  }

  #setEnded(guest: GuestName): void {
    const sandbox = this.#sandboxes.get(this.#nameOf(guest));
    if (guest.cid !== undefined) this.#join.forgetCid(guest.cid);
    if (sandbox === undefined) return;
    this.database.run("UPDATE sandbox SET state = 'ended', summary_spans = -1 WHERE id = ?", sandbox.id);
    this.#changed.add(sandbox.sid);
  }

  #nameOf({ sandbox, cid }: GuestName): string {
    if (sandbox !== undefined) return this.#join.learn(sandbox);
    return cid === undefined ? UNASSIGNED : this.#join.ofCid(cid);
  }

  /** Removes sandboxes that are too old, or too many for the store; those that run are removed last. */
  prune(nowMs: number = Date.now()): void {
    this.#change(() => this.#prune(nowMs));
  }

  /** Changes something, all of it or nothing. Throws a `StoreError`. */
  #change<T>(action: () => T): T {
    return this.database.change(action, () => this.#readAgain());
  }

  #prune(nowMs: number): void {
    const before = this.#sandboxes.size;
    this.#removeOld(nowMs);
    if (this.#sandboxes.size < before) this.#operations.prune();
  }

  #removeOld(nowMs: number): void {
    for (
      const row of this.database.all(
        "SELECT sid FROM sandbox WHERE touched_ms < ? AND state <> 'running'",
        nowMs - this.#limits.keepMs,
      )
    ) {
      this.remove(String(row["sid"]));
    }
    if (this.database.usedBytes <= this.#limits.maxBytes) return;
    const oldest = this.database.all("SELECT sid FROM sandbox ORDER BY state = 'running', touched_ms");
    for (const row of oldest) {
      if (this.database.usedBytes <= this.#limits.maxBytes * LOW_WATER) break;
      this.remove(String(row["sid"]));
    }
  }

  remove(sid: string): void {
    const sandbox = this.#sandboxes.get(sid);
    if (sandbox === undefined) return;
    for (const table of ["span", "blob"]) this.database.run(`DELETE FROM ${table} WHERE sandbox = ?`, sandbox.id);
    this.database.run("DELETE FROM sandbox WHERE id = ?", sandbox.id);
    this.#sandboxes.delete(sid);
    this.#join.forget(sid);
    this.#changed.add(sid);
  }

  close(): void {
    this.database.close();
  }

  #addValid(span: IncomingSpan, nowMs: number): boolean {
    try {
      return this.#add(span, nowMs);
    } catch (error) {
      if (error instanceof ProtobufError) return false;
      throw error;
    }
  }

  #add({ kind, part }: IncomingSpan, nowMs: number): boolean {
    const head = readSpanHead(part.span);
    const facts = this.#factsOf(part.resource);
    const sid = this.#join.assign({ traceId: head.traceId, spanId: head.spanId }, {
      isGuest: kind === "guest" || (kind === "file" && facts.cid !== undefined),
      spanId: head.spanId,
      parentSpanId: head.parentSpanId,
      resourceSandbox: facts.sandbox,
      attributeSandbox: head.sandboxAttribute,
      serviceName: facts.serviceName,
      cid: facts.cid,
    });
    const sandbox = this.#sandbox(sid, head.startNs, nowMs);
    if (kind === "file" && facts.label !== undefined && sandbox.label === "") this.#setLabel(sandbox, facts.label);
    this.#changed.add(sid);
    const isFull = sandbox.spans >= MAX_SPANS_PER_SANDBOX || sandbox.bytes > this.#limits.maxBytes * SANDBOX_SHARE;
    if (isFull) {
      this.database.run("UPDATE sandbox SET not_kept = not_kept + 1 WHERE id = ?", sandbox.id);
      return false;
    }
    return this.#insert(sandbox, part, head, sideOf(kind, facts), nowMs);
  }

  #insert(sandbox: SandboxRow, part: IncomingSpan["part"], head: SpanHead, side: string, nowMs: number): boolean {
    const { body, large, values } = splitSpan(head.content);
    const operation = this.#operations.find(side, head.name);
    const duration = head.endNs > head.startNs ? head.endNs - head.startNs : 0n;
    const changes = this.database.run(
      "INSERT OR IGNORE INTO span VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      sandbox.id,
      bytesOf(head.traceId),
      bytesOf(head.spanId),
      bytesOf(head.parentSpanId),
      operation.id,
      BigInt.asIntN(64, head.startNs),
      BigInt.asIntN(64, duration),
      head.isError ? 1 : 0,
      bytesOf(this.#putBlob(sandbox, part.resource)),
      bytesOf(this.#putBlob(sandbox, part.scope)),
      large.length === 0 ? null : JSON.stringify(large),
      body,
    );
    if (changes === 0) return false;
    for (const value of values.values()) this.#putBlob(sandbox, value);
    sandbox.spans++;
    sandbox.bytes += body.length + ROW_BYTES + (operation.isNew ? head.name.length : 0);
    this.database.run(
      `UPDATE sandbox SET spans = spans + 1, errors = errors + ?, bytes = ?, touched_ms = ?,
        base_ns = min(base_ns, ?) WHERE id = ?`,
      head.isError ? 1 : 0,
      sandbox.bytes,
      nowMs,
      BigInt.asIntN(64, head.startNs),
      sandbox.id,
    );
    return true;
  }

  #readSandboxes(): void {
    for (const row of this.database.all("SELECT id, sid, label, spans, bytes FROM sandbox")) {
      const sandbox = {
        id: Number(row["id"]),
        sid: String(row["sid"]),
        label: String(row["label"]),
        spans: Number(row["spans"]),
        bytes: Number(row["bytes"]),
      };
      this.#sandboxes.set(sandbox.sid, sandbox);
    }
  }

  /** Most spans share their resource and scope with others, so what is stored is not packed again. */
  #putBlob(sandbox: SandboxRow, bytes: Uint8Array): string {
    const hash = hashOf(bytes);
    const key = bytesOf(hash);
    if (this.database.all("SELECT 1 FROM blob WHERE sandbox = ? AND hash = ?", sandbox.id, key).length > 0) return hash;
    const packed = packBlob(bytes);
    this.database.run("INSERT INTO blob VALUES (?, ?, ?)", sandbox.id, key, packed);
    sandbox.bytes += packed.length;
    return hash;
  }

  /** Spans that come together mostly share the bytes of their resource. */
  #factsOf(resource: Uint8Array): ResourceFacts {
    if (this.#lastResource?.bytes !== resource) {
      this.#lastResource = { bytes: resource, facts: resourceFacts(readResource(resource), this.#labelBy) };
    }
    return this.#lastResource.facts;
  }

  #sandbox(sid: string, startNs: bigint, nowMs: number): SandboxRow {
    const known = this.#sandboxes.get(sid);
    if (known !== undefined) return known;
    this.database.run(
      "INSERT INTO sandbox (sid, label, state, base_ns, touched_ms) VALUES (?, ?, 'ended', ?, ?)",
      sid,
      this.#label,
      BigInt.asIntN(64, startNs),
      nowMs,
    );
    const id = Number(this.database.all("SELECT id FROM sandbox WHERE sid = ?", sid)[0]?.["id"]);
    const sandbox = { id, sid, label: this.#label, spans: 0, bytes: 0 };
    this.#sandboxes.set(sid, sandbox);
    return sandbox;
  }

  #setLabel(sandbox: SandboxRow, label: string): void {
    sandbox.label = label;
    this.database.run("UPDATE sandbox SET label = ?, summary_spans = -1 WHERE id = ?", label, sandbox.id);
  }

  /** Moves spans whose sandbox became known only now. */
  #applyReassignments(): void {
    const changes = this.#pending;
    this.#pending = [];
    for (const { key, from, to } of changes) {
      if (key === undefined) this.#moveAll(from, to);
      else this.#move(key, from, to);
    }
  }

  /** Everything of a sandbox turns out to belong to another one, which then runs if the first one did. */
  #moveAll(from: string, to: string): void {
    const source = this.#sandboxes.get(from);
    if (source === undefined || from === to) return;
    const [row] = this.database.all("SELECT state, CAST(base_ns AS TEXT) AS base FROM sandbox WHERE id = ?", source.id);
    const target = this.#sandbox(to, BigInt(String(row?.["base"])), Date.now());
    if (row?.["state"] === "running") this.database.run("UPDATE sandbox SET state = 'running' WHERE id = ?", target.id);
    const keys = this.database.all(
      "SELECT lower(hex(trace)) AS trace, lower(hex(span)) AS span FROM span WHERE sandbox = ?",
      source.id,
    );
    for (const key of keys) this.#move({ traceId: String(key["trace"]), spanId: String(key["span"]) }, from, to);
    this.#changed.add(to);
    this.remove(from);
  }

  #move(key: SpanKey, from: string, to: string): void {
    const source = this.#sandboxes.get(from);
    if (source === undefined) return;
    const hasMoved = moveSpan(this.database, key, source, (startNs) => this.#sandbox(to, startNs, Date.now()));
    if (!hasMoved) return;
    this.#changed.add(to);
    if (source.spans === 0 && from === UNASSIGNED) this.remove(from);
  }

  /** A change was undone: what is known in memory is read again. */
  #readAgain(): void {
    this.#pending = [];
    this.#sandboxes.clear();
    this.#operations.forget();
    this.#readSandboxes();
  }
}
