import { test as nodeTest } from "node:test";

/** No test waits this long unless something hangs, milliseconds; Bun's own limit is 5 s. */
const TIMEOUT_MS = 120_000;

/** What differs from test to test. */
export interface TestSettings {
  /** Why the test is left out. */
  readonly skip?: string;
  /** For a test of many rounds, each of which waits: how long it may take, milliseconds. */
  readonly timeoutMs?: number;
}

/** A test of whole processes. */
export function test(name: string, body: () => Promise<void>, settings: TestSettings = {}) {
  const { timeoutMs: timeout = TIMEOUT_MS, ...options } = settings;
  void nodeTest(name, { timeout, ...options }, body);
}
