/**
 * The viewer's API, `/api/v1`, as the page and the terminal see it. JSON; GET unless said otherwise. All times are
 * nanoseconds: absolute ones as decimal strings (they do not fit into a double), durations and differences as numbers.
 *
 * An error is answered with its HTTP status and an {@link ApiError}. This file holds types only: the page, which is
 * compiled for a browser, imports nothing else of the program.
 */

/** Which program a span is from. */
export type Side = "runtime" | "agent" | "containerd" | "host";

export type Phase = "prepare" | "vmm" | "guest" | "sandbox" | "create" | "start";

export interface ApiError {
  /** One line for a person: what is wrong, and what to do. */
  readonly error: string;
}

/** running: its guest is connected. no-root: it has ended, and its root span never came. */
export type SandboxState = "running" | "ended" | "no-root";

/**
 * How a guest's clock differs from the host's: `offset` nanoseconds have to be added to the guest's times to get the
 * host's, give or take `error`.
 */
export type ClockView =
  | { readonly state: "aligned"; readonly offset: number; readonly error: number }
  /** No request of the host's has been seen on both sides. */
  | { readonly state: "not-aligned" }
  /** The requests contradict each other, so no single offset is right. */
  | { readonly state: "drifts" };

export interface PhaseView {
  readonly phase: Phase;
  /** For people, such as "VMM start". */
  readonly name: string;
  /** From the sandbox's `baseNs` on. */
  readonly from: number;
  readonly to: number;
  /** The median of this phase over the sandboxes of the same label; absent where fewer than 20 are known. */
  readonly p50?: number;
}

/** A line of the list of sandboxes. */
export interface SandboxSummary {
  /** The sandbox's ID, or `unassigned` for spans whose sandbox is unknown. */
  readonly id: string;
  readonly label: string;
  readonly state: SandboxState;
  /** qemu, clh, firecracker, dragonball, …; absent if unknown. */
  readonly vmm?: string;
  readonly pod?: string;
  readonly namespace?: string;
  readonly container?: string;
  readonly cid?: number;
  /** Of Kata, such as 4.1.0; absent where no resource says. */
  readonly kataVersion?: string;
  /** Of the first span; Unix time. */
  readonly baseNs: string;
  /** How long it took to start; absent while it has not, and where the start was not traced. */
  readonly start?: number;
  readonly phases: readonly PhaseView[];
  readonly spans: number;
  /** Spans that were over the store's bounds: counted, not kept. */
  readonly spansNotKept: number;
  readonly traces: number;
  readonly errors: number;
  /** The operation of the first error. */
  readonly firstError?: string;
  readonly clock: ClockView;
}

/** What the store holds at the moment, for the header. */
export interface StoreStatus {
  readonly bytes: number;
  readonly maxBytes: number;
  readonly running: number;
  readonly sandboxes: number;
  /** Why nothing is stored at the moment, such as a full disk. */
  readonly problem?: string;
}

/** `GET /sandboxes?state&label&vmm&error&q&sort&cursor` */
export interface SandboxList {
  readonly sandboxes: readonly SandboxSummary[];
  /** For `cursor`: where the next page begins; absent on the last. */
  readonly next?: string;
  readonly total: number;
  readonly labels: readonly string[];
  /** The hypervisors of all sandboxes, of those that are known. */
  readonly vmms: readonly string[];
  /** The median of `start` over those listed that have one. */
  readonly p50Start?: number;
  readonly store: StoreStatus;
}

/**
 * The spans of a sandbox in columns, ordered by start. Row `i` of each column is one span. Attributes, events and links
 * come with `GET /sandboxes/ID/spans/SPAN`.
 */
export interface SpanColumns {
  /** Span IDs, 16 hexadecimal digits. Two rows can have the same ID in different traces. */
  readonly id: readonly string[];
  /** Index into `traceIds`. */
  readonly trace: readonly number[];
  readonly traceIds: readonly string[];
  /** The parent's row, −1 for none. It may be of another trace. */
  readonly parent: readonly number[];
  /** Index into `names`. */
  readonly name: readonly number[];
  readonly names: readonly string[];
  readonly side: readonly Side[];
  /** As the span says, from `baseNs` on; a guest's start is on the guest's clock. */
  readonly start: readonly number[];
  readonly duration: readonly number[];
  /** Duration less what children covered (on the aligned clock). */
  readonly self: readonly number[];
  readonly error: readonly (0 | 1)[];
}

/** Nobody traced this part of the start: drawn as a dashed row below `parent`. */
export interface UntracedView {
  /** The row that was waited for meanwhile, or else the root that lasts as long as the sandbox; −1 for none. */
  readonly parent: number;
  readonly name: string;
  /** On the aligned clock. */
  readonly from: number;
  readonly to: number;
}

/** A piece of the critical path of the start, on the aligned clock; `row` is −1 where no span ran. */
export interface CriticalView {
  readonly row: number;
  readonly from: number;
  readonly to: number;
}

/** How an operation's duration is distributed over the sandboxes of a label. */
export interface OperationRange {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
}

/** `GET /sandboxes/ID` */
export interface SandboxDetail extends SandboxSummary {
  readonly columns: SpanColumns;
  readonly untraced: readonly UntracedView[];
  readonly critical: readonly CriticalView[];
  /** The start's stretch; absent if it is not known. */
  readonly startStretch?: { readonly from: number; readonly to: number };
  /** By the key `side name`. */
  readonly ranges: Readonly<Record<string, OperationRange>>;
  /** Median start of the label, and the share of its sandboxes that started faster. */
  readonly startRange?: OperationRange & { readonly shareBelow: number };
  /**
   * An estimate of how long the start waited for the runtime to send its spans, so many and so long each; absent where
   * it did not wait, or where nothing tells.
   */
  readonly tracingCost?: { readonly spans: number; readonly each: number };
  /** What the resource says: pod, node, versions. */
  readonly resource: readonly AttributeView[];
}

export type AttributeValue = string | number | boolean | readonly AttributeValue[] | null;

export interface AttributeView {
  readonly key: string;
  /** An integer beyond 2^53 is a string of its digits. */
  readonly value: AttributeValue;
  /** How many characters were cut off. */
  readonly cut?: number;
}

/** `GET /sandboxes/ID/spans/SPAN?trace=TRACE` */
export interface SpanDetail {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly side: Side;
  readonly startNs: string;
  readonly endNs: string;
  readonly self: number;
  readonly kind: string;
  readonly status: { readonly code: "unset" | "ok" | "error"; readonly message: string };
  readonly scope: string;
  readonly attributes: readonly AttributeView[];
  readonly resource: readonly AttributeView[];
  readonly events: readonly { name: string; timeNs: string; attributes: readonly AttributeView[] }[];
  readonly links: readonly { traceId: string; spanId: string; attributes: readonly AttributeView[] }[];
  /** The distribution of this operation in its label: bucket edges and counts; and where this span stands in it. */
  readonly distribution?: Distribution & { readonly shareBelow: number };
}

/** `GET /sandboxes/ID/spans?key=ATTRIBUTE&value=TEXT`: spans whose attribute's value holds the text, as `trace:span`. */
export interface FoundSpans {
  readonly spans: readonly string[];
}

export interface Distribution {
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly buckets: readonly { readonly from: number; readonly to: number; readonly count: number }[];
}

/** One line of `GET /operations?label&phase&group=ATTR`. */
export interface OperationRow extends Distribution {
  readonly name: string;
  readonly side: Side | "nobody";
  /** The value of the attribute that the rows are grouped by. */
  readonly group?: string;
  readonly sandboxes: number;
  readonly errors: number;
  readonly total: number;
  readonly self: number;
  /** The share of all starts that waited for nothing but this; absent where no start is known. */
  readonly ofStart?: number;
  readonly slowest?: { readonly sandbox: string; readonly span: string; readonly duration: number };
}

/** Who calls whom, for the graph of operations: indices into `rows`. */
export interface OperationEdge {
  readonly from: number;
  readonly to: number;
  readonly count: number;
  readonly total: number;
}

export interface OperationList {
  readonly label: string;
  readonly labels: readonly string[];
  readonly rows: readonly OperationRow[];
  readonly edges: readonly OperationEdge[];
}

/** One line of `GET /compare?a&b`: `b` is the new one. */
export interface CompareRow {
  readonly name: string;
  readonly side: Side | "nobody" | "sandbox";
  readonly a: Distribution;
  readonly b: Distribution;
  /** (p50 of b − p50 of a) / p50 of a; absent if that is not a number. */
  readonly change?: number;
  /** Corrected by Holm; absent with too few sandboxes (below 20) on a side. */
  readonly p?: number;
  readonly verdict: "slower" | "faster" | "same" | "too few" | "only in a" | "only in b";
  readonly slowest?: { readonly sandbox: string; readonly span: string; readonly duration: number };
}

export interface Comparison {
  readonly a: { readonly label: string; readonly sandboxes: number };
  readonly b: { readonly label: string; readonly sandboxes: number };
  readonly labels: readonly string[];
  /** The whole start first, then operations, those with the clearest difference first. */
  readonly rows: readonly CompareRow[];
}

/** `GET /events`, server-sent events: `event: NAME`, `data:` one of these as JSON. */
export interface ApiEvents {
  /** A sandbox is new or has changed: fetch it again if it is shown. At most 4 a second for each sandbox. */
  readonly sandbox: { readonly id: string; readonly spans: number; readonly state: SandboxState };
  readonly store: StoreStatus;
}

/** The answer of `POST /open`, whose body is a file: what became of it. */
export interface Opened {
  readonly spans: number;
  readonly sandboxes: readonly string[];
  /** One line for each thing that could not be read. */
  readonly problems: readonly string[];
}

/** The answer of `POST /session`, which exchanges the URL's token for a cookie. */
export interface Session {
  readonly version: string;
  /** False for a page exported as a file: it has no server. */
  readonly live: boolean;
}
