/** Spans of which nothing says to which sandbox they belong. */
export const UNASSIGNED = "unassigned";

/** How many host spans are remembered so that later ones can be joined to them: some 30 MB. */
const REMEMBERED_SPANS = 200_000;

/** The Rust runtime's service is `kata-sb-` and the first 8 characters of the sandbox's ID. */
const SERVICE_PREFIX = "kata-sb-";
const SERVICE_NAME = /^kata-sb-([0-9A-Za-z]{8})$/;
const SERVICE_ID_LENGTH = 8;

/** The name of a sandbox of which only the guest's CID is known, and which guest with that CID it is. */
const PROVISIONAL_CID = /^cid-(\d+)(?:-(\d+))?$/;

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
 * Spans that were assigned before are now known to be of another sandbox: one, whose `key` is what
 * {@link SandboxJoin.assign} got, or, without a key, all those of a sandbox.
 */
export interface Reassignment<Key> {
  readonly key: Key | undefined;
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
 * Finds the sandbox of each span. The first of these that gives an answer counts:
 *
 * 1. the resource's `kata.sandbox.id`, which only the host writes;
 * 2. the attribute `sandbox_id` of a host's span;
 * 3. a service name `kata-sb-XXXXXXXX`: the one known sandbox whose ID begins like that or, while there is no such
 *    one, a sandbox that is called like the service;
 * 4. the sandbox of the span's parent or of one of its children, by span ID and across traces (host's spans only);
 * 5. for a guest, its CID: the sandbox that the parents of its spans belong to, if no other guest has been joined to
 *    it, otherwise one that is called `cid-N`.
 *
 * Spans come in any order, so a span can be assigned later than it came: `assign` reports those through `reassigned`.
 */
export class SandboxJoin<Key> {
  readonly #nodes = new Map<string, Node<Key>>();
  readonly #known = new Set<string>();
  /** The known sandboxes by the first 8 characters of their IDs. */
  readonly #byStart = new Map<string, Set<string>>();
  readonly #guestOf = new Map<string, string>();
  readonly #sandboxOfCid = new Map<number, string>();
  /** How many guests have had a CID before the one that has it now. */
  readonly #earlierGuests = new Map<number, number>();
  readonly #reassigned: (changes: readonly Reassignment<Key>[]) => void;

  constructor(reassigned: (changes: readonly Reassignment<Key>[]) => void) {
    this.#reassigned = reassigned;
  }

  /** A sandbox that an earlier process has stored. */
  remember(sandbox: string): void {
    const [, cid, life = "1"] = PROVISIONAL_CID.exec(sandbox) ?? [];
    if (cid !== undefined) {
      this.#earlierGuests.set(Number(cid), Math.max(this.#earlierGuests.get(Number(cid)) ?? 0, Number(life)));
    } else if (SERVICE_NAME.test(sandbox)) this.#known.add(sandbox);
    else if (sandbox !== UNASSIGNED) this.learn(sandbox);
  }

  /** A sandbox exists, although no span of it has come. Returns what it is called here. */
  learn(sandbox: string): string {
    const id = this.#canonical(sandbox);
    if (this.#known.has(id)) return id;
    this.#known.add(id);
    const start = id.slice(0, SERVICE_ID_LENGTH);
    const alike = this.#byStart.get(start) ?? new Set();
    this.#byStart.set(start, alike.add(id));
    const service = `${SERVICE_PREFIX}${start}`;
    if (alike.size === 1 && this.#known.has(service)) this.#rename(service, id);
    return id;
  }

  /** A sandbox has been removed: its ID is as unknown as before. */
  forget(sandbox: string): void {
    this.#known.delete(sandbox);
    this.#guestOf.delete(sandbox);
    const start = sandbox.slice(0, SERVICE_ID_LENGTH);
    const alike = this.#byStart.get(start);
    alike?.delete(sandbox);
    if (alike?.size === 0) this.#byStart.delete(start);
  }

  /** Everything that was called like its service is of the sandbox with this ID. */
  #rename(service: string, id: string): void {
    this.#known.delete(service);
    for (const node of this.#nodes.values()) if (node.sandbox === service) node.sandbox = id;
    this.#reassigned([{ key: undefined, from: service, to: id }]);
  }

  /** The sandbox of a span. */
  assign(key: Key, input: JoinInput): string {
    if (input.isGuest) return this.#assignGuest(input);
    const node = this.#node(input.spanId);
    const isNew = node.key === undefined;
    if (isNew) node.key = key;
    if (node.parent === "" && input.parentSpanId !== "" && input.parentSpanId !== input.spanId) {
      node.parent = input.parentSpanId;
      this.#node(input.parentSpanId).children.push(input.spanId);
    }
    const sandbox = this.#named(input) ?? node.sandbox ?? this.#ofRelatives(node) ?? this.#ofService(input);
    if (sandbox === undefined) return UNASSIGNED;
    const changes: Reassignment<Key>[] = [];
    this.#set(input.spanId, sandbox, changes, key);
    if (changes.length > 0) this.#reassigned(changes);
    this.#forgetOldest();
    return sandbox;
  }

  #assignGuest({ resourceSandbox, cid, parentSpanId }: JoinInput): string {
    if (resourceSandbox !== undefined) return this.learn(resourceSandbox);
    if (cid === undefined) return UNASSIGNED;
    const bound = this.#sandboxOfCid.get(cid);
    if (bound !== undefined) return bound;
    const provisional = this.ofCid(cid);
    const parents = this.#nodes.get(parentSpanId)?.sandbox;
    if (parents === undefined || this.#guestOf.has(parents)) return provisional;
    this.#sandboxOfCid.set(cid, parents);
    this.#guestOf.set(parents, provisional);
    this.#reassigned([{ key: undefined, from: provisional, to: parents }]);
    return parents;
  }

  /** The sandbox of the guest that has a CID now, as far as it is known. */
  ofCid(cid: number): string {
    const earlier = this.#earlierGuests.get(cid) ?? 0;
    return this.#sandboxOfCid.get(cid) ?? (earlier === 0 ? `cid-${cid}` : `cid-${cid}-${earlier + 1}`);
  }

  /** A guest with this CID has gone: the next one with it is of another sandbox. */
  forgetCid(cid: number): void {
    this.#sandboxOfCid.delete(cid);
    this.#earlierGuests.set(cid, (this.#earlierGuests.get(cid) ?? 0) + 1);
  }

  #named({ resourceSandbox, attributeSandbox, serviceName }: JoinInput): string | undefined {
    const id = resourceSandbox ?? attributeSandbox;
    if (id !== undefined && id !== "") return this.learn(id);
    const start = SERVICE_NAME.exec(serviceName ?? "")?.[1];
    return start === undefined ? undefined : this.#startingWith(start);
  }

  /** A sandbox of which nothing is known but what its runtime's service is called. */
  #ofService({ serviceName = "" }: JoinInput): string | undefined {
    if (!SERVICE_NAME.test(serviceName)) return undefined;
    this.#known.add(serviceName);
    return serviceName;
  }

  /** The one known sandbox whose ID begins like this; at least {@link SERVICE_ID_LENGTH} characters. */
  #startingWith(start: string): string | undefined {
    const alike = this.#byStart.get(start.slice(0, SERVICE_ID_LENGTH)) ?? [];
    const found = [...alike].filter((id) => id.startsWith(start));
    return found.length === 1 ? found[0] : undefined;
  }

  /** A short ID stands for the one full ID that begins with it, and the other way round. */
  #canonical(id: string): string {
    if (this.#known.has(id)) return id;
    if (id.length === SHORT_ID_LENGTH) return this.#startingWith(id) ?? id;
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
