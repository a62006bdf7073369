import { test as nodeTest } from "node:test";

/** No test waits this long unless something hangs, milliseconds; Bun's own limit is 5 s. */
const TIMEOUT_MS = 120_000;

/** A test of whole processes. */
export function test(name: string, body: () => Promise<void>, options: { skip?: string } = {}) {
  void nodeTest(name, { timeout: TIMEOUT_MS, ...options }, body);
}
