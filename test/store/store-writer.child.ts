import process from "node:process";
import { TraceStore } from "../../src/store/trace-store.ts";
import { incoming, madeUp } from "./support.ts";

/** Adds spans to the store named by its argument, ten a commit, and says after each commit how many there are. */
const store = TraceStore.open(process.argv[2] ?? "", { maxBytes: 2 ** 30, keepMs: 3_600_000 });
for (let count = 0; count < 100_000;) {
  const spans = Array.from({ length: 10 }, () => madeUp({ id: ++count }, { "kata.sandbox.id": `box-${count % 50}` }));
  store.add(incoming("guest", spans));
  process.stdout.write(`${count}\n`);
  await new Promise((resolve) => setImmediate(resolve));
}
