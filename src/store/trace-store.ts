import { Buffer } from "node:buffer";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { readResource } from "../otlp/json-record.ts";
import { ProtobufError } from "../otlp/protobuf-reader.ts";
import { readSpanHead, type SpanHead } from "./span-head.ts";
import { type Reassignment, SandboxJoin, UNASSIGNED } from "./sandbox-join.ts";
import { OperationNames } from "./operation-names.ts";
import { APPLICATION_ID, SCHEMA, SCHEMA_VERSION } from "./schema.ts";
import { hashOf, packBlob, splitSpan } from "./span-body.ts";
import { type IncomingSpan, LABEL_ATTRIBUTE, type ResourceFacts, resourceFacts, sideOf } from "./span-source.ts";
import { StoreError, storeError } from "./store-error.ts";

/**
 * A file may be damaged, or made by somebody else: each page is checked as it is read, and nothing in its schema is run
 * (https://www.sqlite.org/security.html).
 */
const DISTRUST = "PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;";

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
/** What a row takes beside its body: its key, its parent, two hashes and the tree's own share. */
const ROW_BYTES = 120;
/** Removing goes on until the store is this full, so that it is not needed for each commit. */
const LOW_WATER = 0.9;

/** What identifies a stored span. */
export interface SpanKey {
  readonly traceId: string;
  readonly spanId: string;
}

/** What is known of a guest that connects or goes. */
export interface GuestName {
  readonly sandbox?: string | undefined;
  readonly cid?: number | undefined;
}

const NS_PER_MS = 1_000_000n;

interface SandboxRow {
  readonly id: number;
  readonly sid: string;
  label: string;
  spans: number;
  bytes: number;
}

/**
 * The node's own trace store: one SQLite file, bounded. Sandboxes are removed whole, those that got no span for longest
 * first. Writing is synchronous and belongs in a process that does not forward.
 */
export class TraceStore {
  readonly file: string;
  readonly database: DatabaseSync;
  readonly #limits: StoreLimits;
  readonly #ownLabel: string;
  /** The resource attribute that says which cohort a recorded sandbox belongs to. */
  readonly #labelBy: string;
  /** Of sandboxes that are new at the moment. */
  #label: string;
  readonly #join: SandboxJoin<SpanKey>;
  readonly #sandboxes = new Map<string, SandboxRow>();
  readonly #operations = new OperationNames(this);
  readonly #statements = new Map<string, StatementSync>();
  #pending: Reassignment<SpanKey>[] = [];
  readonly #changed = new Set<string>();
  #lastResource: { readonly bytes: Uint8Array; readonly facts: ResourceFacts } | undefined;
  #problem: string | undefined;

  private constructor(
    file: string,
    database: DatabaseSync,
    limits: StoreLimits,
    label: string,
    labelBy: string = LABEL_ATTRIBUTE,
  ) {
    this.#labelBy = labelBy;
    this.file = file;
    this.database = database;
    this.#limits = limits;
    this.#ownLabel = this.#label = label;
    this.#join = new SandboxJoin((changes) => this.#pending.push(...changes));
    this.#readSandboxes();
    for (const sid of this.#sandboxes.keys()) this.#join.remember(sid);
  }

  /**
   * Opens a store, or makes a new one; ":memory:" is one without a file. Throws a {@link StoreError} if the file is
   * not a store, is damaged, or is from a later version.
   *
   * @param label the cohort of sandboxes that are new from now on.
   * @param labelBy the resource attribute that says which cohort a recorded sandbox belongs to, if nothing else does.
   */
  static open(file: string, limits: StoreLimits, label = "", labelBy?: string): TraceStore {
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(file);
      // NORMAL: a power loss may cost the last commits, never the file (https://www.sqlite.org/wal.html).
      database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;");
      database.exec(DISTRUST);
      checkVersion(file, database);
      database.exec(SCHEMA);
      // What ran when the last process ended is not connected to this one.
      database.exec("UPDATE sandbox SET state = 'ended', summary_spans = -1 WHERE state = 'running'");
      return new TraceStore(file, database, limits, label, labelBy);
    } catch (error) {
      database?.close();
      if (error instanceof StoreError) throw error;
      throw storeError(file, error);
    }
  }

  /**
   * Opens a store that another process may be writing to, to read it. Nothing of it is changed. Throws a
   * {@link StoreError}.
   */
  static openForReading(file: string): TraceStore {
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(file, { readOnly: true });
      database.exec(DISTRUST);
      checkVersion(file, database);
      return new TraceStore(file, database, { maxBytes: Infinity, keepMs: Infinity }, "");
    } catch (error) {
      database?.close();
      if (error instanceof StoreError) throw error;
      throw storeError(file, error);
    }
  }

  /** Why nothing was stored the last time, for people; undefined if all is well. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Of the file, bytes: pages in use, so that what was removed counts as free. */
  get usedBytes(): number {
    const pragma = (name: string): number => Number(Object.values(this.all(`PRAGMA ${name}`)[0] ?? {})[0]);
    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size");
  }

  get isReadOnly(): boolean {
    return this.#limits.maxBytes === Infinity;
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
      this.database.exec("BEGIN");
      let added = 0;
      for (const span of spans) if (this.#addValid(span, nowMs)) added++;
      this.#applyReassignments();
      this.database.exec("COMMIT");
      this.#problem = undefined;
      return added;
    } catch (error) {
      this.#undo();
      const problem = storeError(this.file, error);
      this.#problem = problem.message;
      throw problem;
    }
  }

  /** A guest has connected, so its sandbox runs. */
  setRunning(guest: GuestName, nowMs: number = Date.now()): void {
    this.#change(() => this.#setRunning(guest, nowMs));
  }

  #setRunning(guest: GuestName, nowMs: number): void {
    const sandbox = this.#sandbox(this.#nameOf(guest), BigInt(nowMs) * NS_PER_MS, nowMs);
    this.run("UPDATE sandbox SET state = 'running' WHERE id = ?", sandbox.id);
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
    this.run("UPDATE sandbox SET state = 'ended', summary_spans = -1 WHERE id = ?", sandbox.id);
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

  /** Changes something, all of it or nothing. Throws a {@link StoreError}. */
  #change(action: () => void): void {
    try {
      this.database.exec("BEGIN");
      action();
      this.database.exec("COMMIT");
    } catch (error) {
      this.#undo();
      throw storeError(this.file, error);
    }
  }

  #prune(nowMs: number): void {
    const before = this.#sandboxes.size;
    this.#removeOld(nowMs);
    if (this.#sandboxes.size < before) this.#operations.prune();
  }

  #removeOld(nowMs: number): void {
    for (
      const row of this.all(
        "SELECT sid FROM sandbox WHERE touched_ms < ? AND state <> 'running'",
        nowMs - this.#limits.keepMs,
      )
    ) {
      this.remove(String(row["sid"]));
    }
    if (this.usedBytes <= this.#limits.maxBytes) return;
    const oldest = this.all("SELECT sid FROM sandbox ORDER BY state = 'running', touched_ms");
    for (const row of oldest) {
      if (this.usedBytes <= this.#limits.maxBytes * LOW_WATER) break;
      this.remove(String(row["sid"]));
    }
  }

  remove(sid: string): void {
    const sandbox = this.#sandboxes.get(sid);
    if (sandbox === undefined) return;
    for (const table of ["span", "blob"]) this.run(`DELETE FROM ${table} WHERE sandbox = ?`, sandbox.id);
    this.run("DELETE FROM sandbox WHERE id = ?", sandbox.id);
    this.#sandboxes.delete(sid);
    this.#join.forget(sid);
    this.#changed.add(sid);
  }

  close(): void {
    this.#statements.clear();
    this.database.close();
  }

  /** Runs a change that may be lost on a full disk; returns whether it was made. Not within another one. */
  tryRun(sql: string, ...values: SqlValue[]): boolean {
    try {
      this.run(sql, ...values);
      return true;
    } catch (error) {
      if (storeError(this.file, error).code !== "full") throw error;
      return false;
    }
  }

  /** The rows of a query. Integers that may not fit into a double have to be selected as text. */
  all(sql: string, ...values: SqlValue[]): Record<string, unknown>[] {
    return this.#statement(sql).all(...values);
  }

  run(sql: string, ...values: SqlValue[]): number {
    return Number(this.#statement(sql).run(...values).changes);
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
      this.run("UPDATE sandbox SET not_kept = not_kept + 1 WHERE id = ?", sandbox.id);
      return false;
    }
    return this.#insert(sandbox, part, head, sideOf(kind, facts), nowMs);
  }

  #insert(sandbox: SandboxRow, part: IncomingSpan["part"], head: SpanHead, side: string, nowMs: number): boolean {
    const { body, large, values } = splitSpan(head.content);
    const operation = this.#operations.find(side, head.name);
    const duration = head.endNs > head.startNs ? head.endNs - head.startNs : 0n;
    const changes = this.run(
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
    this.run(
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
    for (const row of this.all("SELECT id, sid, label, spans, bytes FROM sandbox")) {
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
    if (this.all("SELECT 1 FROM blob WHERE sandbox = ? AND hash = ?", sandbox.id, key).length > 0) return hash;
    const packed = packBlob(bytes);
    this.run("INSERT INTO blob VALUES (?, ?, ?)", sandbox.id, key, packed);
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
    this.run(
      "INSERT INTO sandbox (sid, label, state, base_ns, touched_ms) VALUES (?, ?, 'ended', ?, ?)",
      sid,
      this.#label,
      BigInt.asIntN(64, startNs),
      nowMs,
    );
    const id = Number(this.all("SELECT id FROM sandbox WHERE sid = ?", sid)[0]?.["id"]);
    const sandbox = { id, sid, label: this.#label, spans: 0, bytes: 0 };
    this.#sandboxes.set(sid, sandbox);
    return sandbox;
  }

  #setLabel(sandbox: SandboxRow, label: string): void {
    sandbox.label = label;
    this.run("UPDATE sandbox SET label = ?, summary_spans = -1 WHERE id = ?", label, sandbox.id);
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
    const [row] = this.all("SELECT state, CAST(base_ns AS TEXT) AS base FROM sandbox WHERE id = ?", source.id);
    const target = this.#sandbox(to, BigInt(String(row?.["base"])), Date.now());
    if (row?.["state"] === "running") this.run("UPDATE sandbox SET state = 'running' WHERE id = ?", target.id);
    const keys = this.all(
      "SELECT lower(hex(trace)) AS trace, lower(hex(span)) AS span FROM span WHERE sandbox = ?",
      source.id,
    );
    for (const key of keys) this.#move({ traceId: String(key["trace"]), spanId: String(key["span"]) }, from, to);
    this.#changed.add(to);
    this.remove(from);
  }

  #move({ traceId, spanId }: SpanKey, from: string, to: string): void {
    const source = this.#sandboxes.get(from);
    if (source === undefined) return;
    const trace = bytesOf(traceId);
    const span = bytesOf(spanId);
    const row = this.all(
      "SELECT CAST(start AS TEXT) AS start, error, resource, scope, large, length(body) AS size FROM span WHERE " +
        "sandbox = ? AND trace = ? AND span = ?",
      source.id,
      trace,
      span,
    )[0];
    if (row === undefined) return;
    const startNs = BigInt(String(row["start"]));
    const target = this.#sandbox(to, startNs, Date.now());
    const large = row["large"] === null ? [] : JSON.parse(String(row["large"])) as { hash: string }[];
    const hashes = [
      row["resource"] as Uint8Array,
      row["scope"] as Uint8Array,
      ...large.map(({ hash }) => bytesOf(hash)),
    ];
    for (const hash of hashes) {
      this.run(
        "INSERT OR IGNORE INTO blob SELECT ?, hash, body FROM blob WHERE sandbox = ? AND hash = ?",
        target.id,
        source.id,
        hash,
      );
    }
    const moved = this.run(
      "UPDATE OR IGNORE span SET sandbox = ? WHERE sandbox = ? AND trace = ? AND span = ?",
      target.id,
      source.id,
      trace,
      span,
    );
    if (moved === 0) return;
    const bytes = Number(row["size"]) + ROW_BYTES;
    const error = Number(row["error"]);
    source.spans--;
    source.bytes -= bytes;
    target.spans++;
    target.bytes += bytes;
    this.run(
      "UPDATE sandbox SET spans = spans - 1, errors = errors - ?, bytes = ?, summary_spans = -1 WHERE id = ?",
      error,
      source.bytes,
      source.id,
    );
    this.run(
      "UPDATE sandbox SET spans = spans + 1, errors = errors + ?, bytes = ?, base_ns = min(base_ns, ?), " +
        "summary_spans = -1 WHERE id = ?",
      error,
      target.bytes,
      startNs,
      target.id,
    );
    this.#changed.add(to);
    if (source.spans === 0 && from === UNASSIGNED) this.remove(from);
  }

  /** Rolls back; what is known in memory is read again. */
  #undo(): void {
    this.#pending = [];
    try {
      this.database.exec("ROLLBACK");
    } catch (error) {
      // SQLite has rolled back by itself where the disk is full.
      if (!/no transaction is active/.test(String(error))) throw storeError(this.file, error);
    }
    this.#sandboxes.clear();
    this.#operations.forget();
    this.#readSandboxes();
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

export type SqlValue = string | number | bigint | Uint8Array | null;

/** Binary columns hold IDs and hashes as bytes. */
export function bytesOf(hex: string): Uint8Array {
  return Buffer.from(hex, "hex");
}

function checkVersion(file: string, database: DatabaseSync): void {
  const number = (pragma: string): number => Number(Object.values(database.prepare(`PRAGMA ${pragma}`).get() ?? {})[0]);
  const hasTables = database.prepare("SELECT count(*) AS n FROM sqlite_master").get() as { n: number };
  if (hasTables.n === 0) return;
  if (number("application_id") !== APPLICATION_ID) {
    throw new StoreError("unusable", `${file} is an SQLite file, but not a trace store: give another --store`);
  }
  const version = number("user_version");
  if (version !== SCHEMA_VERSION) {
    throw new StoreError("unusable", `${file} is a trace store of another version (${version}): give another --store`);
  }
}
