/** Spans of which nothing says to which sandbox they belong. */
export const UNASSIGNED = "unassigned";

/** How many host spans are remembered so that later ones can be joined to them: some 30 MB. */
const REMEMBERED_SPANS = 200_000;

/** The Rust runtime's service is `kata-sb-` and the first 8 characters of the sandbox's ID. */
const SERVICE_PREFIX = /^kata-sb-([0-9A-Za-z]{8})$/;

/** Firecracker's IDs are the first 32 of a sandbox's 64 characters. */
const SHORT_ID_LENGTH = 32;
const FULL_ID_LENGTH = 64;

/** What is known about whose span it is. IDs are lower-case hexadecimal. */
export interface JoinInput {
  /** Guests are not trusted: what their spans say about themselves does not count, only their connection does. */
  readonly isGuest: boolean;
  readonly spanId: string;
  readonly parentSpanId: string;
  /** `kata.sandbox.id` of the resource, which the host sets. */
  readonly resourceSandbox: string | undefined;
  /** The attribute `sandbox_id`. */
  readonly attributeSandbox: string | undefined;
  readonly serviceName: string | undefined;
  /** `kata.vsock.cid` of the resource, which the host sets. */
  readonly cid: number | undefined;
}

/**
 * A span that was assigned before is now known to be of another sandbox. `key` is what {@link SandboxJoin.assign} got.
 */
export interface Reassignment<Key> {
  readonly key: Key;
  readonly from: string;
  readonly to: string;
}

interface Node<Key> {
  /** Undefined until the span itself has come: another one has named it as its parent. */
  key: Key | undefined;
  sandbox: string | undefined;
  parent: string;
  children: string[];
}

/**
 * Finds the sandbox of each span. The first of these that says something counts:
 *
 * 1. the resource's `kata.sandbox.id`, which only the host writes;
 * 2. the attribute `sandbox_id` of a host's span;
 * 3. a service name `kata-sb-XXXXXXXX`, if exactly one known sandbox's ID begins like that;
 * 4. the sandbox of the span's parent or of one of its children, by span ID and across traces (host's spans only);
 * 5. for a guest, its CID: the sandbox that the parents of its spans belong to, if no other guest has been joined to
 *    it, otherwise `cid-N`.
 *
 * Spans come in any order, so a span can be assigned later than it came: `assign` reports those through `reassigned`.
 */
export class SandboxJoin<Key> {
  readonly #nodes = new Map<string, Node<Key>>();
  readonly #known = new Set<string>();
  /** Spans that wait for a sandbox with an ID that begins like their service says. */
  readonly #waitingForPrefix = new Map<string, string[]>();
  readonly #guestOf = new Map<string, string>();
  readonly #sandboxOfCid = new Map<number, string>();
  readonly #cidSpans = new Map<number, Key[]>();
  readonly #reassigned: (changes: readonly Reassignment<Key>[]) => void;

  constructor(reassigned: (changes: readonly Reassignment<Key>[]) => void) {
    this.#reassigned = reassigned;
  }

  /** A sandbox exists, although no span of it has come. */
  learn(sandbox: string): string {
    const id = this.#canonical(sandbox);
    if (this.#known.has(id)) return id;
    this.#known.add(id);
    for (const [prefix, spans] of this.#waitingForPrefix) {
      if (!id.startsWith(prefix) || this.#byPrefix(prefix) !== id) continue;
      this.#waitingForPrefix.delete(prefix);
      const changes: Reassignment<Key>[] = [];
      for (const span of spans) this.#set(span, id, changes);
      if (changes.length > 0) this.#reassigned(changes);
    }
    return id;
  }

  /** The sandbox of a span. */
  assign(key: Key, input: JoinInput): string {
    if (input.isGuest) return this.#assignGuest(key, input);
    const node = this.#node(input.spanId);
    const isNew = node.key === undefined;
    if (isNew) node.key = key;
    if (node.parent === "" && input.parentSpanId !== "" && input.parentSpanId !== input.spanId) {
      node.parent = input.parentSpanId;
      this.#node(input.parentSpanId).children.push(input.spanId);
    }
    const sandbox = this.#named(input) ?? node.sandbox ?? this.#ofRelatives(node);
    if (sandbox === undefined) {
      this.#waitForPrefix(input);
      return UNASSIGNED;
    }
    const changes: Reassignment<Key>[] = [];
    this.#set(input.spanId, sandbox, changes, key);
    if (changes.length > 0) this.#reassigned(changes);
    this.#forgetOldest();
    return sandbox;
  }

  #assignGuest(key: Key, { resourceSandbox, cid, parentSpanId }: JoinInput): string {
    if (resourceSandbox !== undefined) return this.learn(resourceSandbox);
    if (cid === undefined) return UNASSIGNED;
    const bound = this.#sandboxOfCid.get(cid);
    if (bound !== undefined) return bound;
    const provisional = `cid-${cid}`;
    const earlier = this.#cidSpans.get(cid) ?? [];
    const parents = this.#nodes.get(parentSpanId)?.sandbox;
    if (parents === undefined || this.#guestOf.has(parents)) {
      earlier.push(key);
      this.#cidSpans.set(cid, earlier);
      return provisional;
    }
    this.#sandboxOfCid.set(cid, parents);
    this.#guestOf.set(parents, provisional);
    this.#cidSpans.delete(cid);
    if (earlier.length > 0) this.#reassigned(earlier.map((span) => ({ key: span, from: provisional, to: parents })));
    return parents;
  }

  /** A guest with this CID has gone: the next one with it may be of another sandbox. */
  forgetCid(cid: number): void {
    this.#sandboxOfCid.delete(cid);
    this.#cidSpans.delete(cid);
  }

  #named({ resourceSandbox, attributeSandbox, serviceName }: JoinInput): string | undefined {
    const id = resourceSandbox ?? attributeSandbox;
    if (id !== undefined && id !== "") return this.learn(id);
    const prefix = SERVICE_PREFIX.exec(serviceName ?? "")?.[1];
    return prefix === undefined ? undefined : this.#byPrefix(prefix);
  }

  #byPrefix(prefix: string): string | undefined {
    let found: string | undefined;
    for (const id of this.#known) {
      if (!id.startsWith(prefix)) continue;
      if (found !== undefined) return undefined;
      found = id;
    }
    return found;
  }

  #waitForPrefix({ serviceName, spanId }: JoinInput): void {
    const prefix = SERVICE_PREFIX.exec(serviceName ?? "")?.[1];
    if (prefix === undefined) return;
    const waiting = this.#waitingForPrefix.get(prefix) ?? [];
    waiting.push(spanId);
    this.#waitingForPrefix.set(prefix, waiting);
  }

  /** A short ID stands for the one full ID that begins with it, and the other way round. */
  #canonical(id: string): string {
    if (this.#known.has(id)) return id;
    if (id.length === SHORT_ID_LENGTH) return this.#byPrefix(id) ?? id;
    if (id.length === FULL_ID_LENGTH && this.#known.has(id.slice(0, SHORT_ID_LENGTH))) {
      return id.slice(0, SHORT_ID_LENGTH);
    }
    return id;
  }

  #ofRelatives(node: Node<Key>): string | undefined {
    const above = this.#nodes.get(node.parent)?.sandbox;
    if (above !== undefined) return above;
    for (const child of node.children) {
      const sandbox = this.#nodes.get(child)?.sandbox;
      if (sandbox !== undefined) return sandbox;
    }
    return undefined;
  }

  /** Assigns a span, and all relatives that have none yet. `newKey` is the span that is being assigned right now. */
  #set(spanId: string, sandbox: string, changes: Reassignment<Key>[], newKey?: Key): void {
    const open = [spanId];
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      const node = this.#nodes.get(id);
      if (node === undefined || (node.sandbox !== undefined && id !== spanId)) continue;
      node.sandbox = sandbox;
      if (node.key !== undefined && node.key !== newKey) changes.push({ key: node.key, from: UNASSIGNED, to: sandbox });
      if (node.parent !== "") open.push(node.parent);
      open.push(...node.children);
    }
  }

  #node(spanId: string): Node<Key> {
    let node = this.#nodes.get(spanId);
    if (node === undefined) {
      node = { key: undefined, sandbox: undefined, parent: "", children: [] };
      this.#nodes.set(spanId, node);
    }
    return node;
  }

  #forgetOldest(): void {
    for (const spanId of this.#nodes.keys()) {
      if (this.#nodes.size <= REMEMBERED_SPANS) break;
      this.#nodes.delete(spanId);
    }
  }
}
