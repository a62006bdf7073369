/** What a span is asked for. */
export interface SpanFacts {
  readonly name: string;
  readonly side: string;
  readonly error: boolean;
  /** Nanoseconds. */
  readonly duration: number;
  readonly self: number;
}

/** A filter, read. */
export interface Filter {
  /** Everything that can be judged by a span's columns; undefined if there is no such condition. */
  readonly test: ((span: SpanFacts) => boolean) | undefined;
  /** `key=value`: has to be looked up, because columns hold no attributes. */
  readonly attributes: readonly { readonly key: string; readonly value: string }[];
  /** Words for the list of sandboxes, `pod:`, `sandbox:` and `cid:` among them: see `fitsQuery`. */
  readonly sandboxWords: readonly string[];
  /** What `dur` asks of a sandbox: how long its start took, nanoseconds. */
  readonly testStart: (ns: number) => boolean;
  /** Words that make no sense, as they were written. */
  readonly problems: readonly string[];
}

const UNITS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, "µs": 1e3, ms: 1e6, s: 1e9 };

/**
 * Reads a filter: words with blanks between them, all of which must hold. `error`; `src:agent`; `dur>5ms`, `self<1s`;
 * `pod:NAME`, `sandbox:ID`, `cid:N` (of the list of sandboxes); `key=value` of an attribute; anything else is a part of
 * the name.
 */
export function parseFilter(text: string): Filter {
  const startTests: ((ns: number) => boolean)[] = [];
  const tests: ((span: SpanFacts) => boolean)[] = [];
  const attributes: { key: string; value: string }[] = [];
  const sandboxWords: string[] = [];
  const problems: string[] = [];
  for (const word of text.trim().split(/\s+/)) {
    if (word === "") continue;
    const [, of, sign, number, unit = "ms"] = /^(dur|self)([<>])([\d.]+)([a-zµ]+)?$/.exec(word) ?? [];
    const [, field, named = ""] = /^(src|pod|sandbox|cid):(.*)$/.exec(word) ?? [];
    const assignment = word.indexOf("=");
    if (word === "error") tests.push((span) => span.error);
    else if (of !== undefined) {
      const size = UNITS[unit];
      const limit = Number(number) * (size ?? NaN);
      if (Number.isNaN(limit)) problems.push(word);
      const member = of === "dur" ? "duration" : "self";
      const fits = (ns: number): boolean => sign === ">" ? ns > limit : ns < limit;
      tests.push((span) => fits(span[member]));
      if (of === "dur") startTests.push(fits);
    } else if (field === "src") tests.push((span) => span.side.startsWith(named));
    else if (field !== undefined) sandboxWords.push(word);
    else if (assignment > 0) attributes.push({ key: word.slice(0, assignment), value: word.slice(assignment + 1) });
    else if (/^(dur|self)[<>]/.test(word)) problems.push(word);
    else {
      const part = word.toLowerCase();
      tests.push((span) => span.name.toLowerCase().includes(part));
      sandboxWords.push(word);
    }
  }
  return {
    test: tests.length === 0 ? undefined : (span) => tests.every((test) => test(span)),
    attributes,
    sandboxWords,
    testStart: (ns) => startTests.every((test) => test(ns)),
    problems,
  };
}
