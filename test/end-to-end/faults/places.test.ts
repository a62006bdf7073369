import assert from "node:assert/strict";
import { chmodSync, mkdirSync } from "node:fs";
import { startForwarder } from "../../process/support/forwarder.ts";
import { until } from "../../support/until.ts";
import { Guest, Sandbox } from "../../process/support/sandbox.ts";
import { test } from "../../process/support/test.ts";
import { assertEquation } from "./support/equation.ts";
import { FarEnd } from "./support/far-end.ts";
import { LoadGuest } from "./support/load.ts";
import { range } from "../../support/numbers.ts";
import { report } from "./support/report.ts";

const PLACES = 100;

test("a sandbox that takes all places keeps no other sandbox out", async () => {
  using node = new Sandbox();
  // Where anybody may write the forwarder does not watch for sandboxes.
  chmodSync(node.directory, 0o755);
  const socketOf = (sandbox: string): string => {
    mkdirSync(node.path(sandbox));
    return `${node.path(sandbox)}/clh.sock_10240`;
  };
  const [greedyAddress, goodAddress] = [socketOf("greedy"), socketOf("good")];
  await using farEnd = await FarEnd.start();
  await using forwarder = await startForwarder([
    ...["--socket-path", node.path("{ID}/clh.sock"), "--otlp-endpoint", farEnd.url],
    ...["--max-guests", String(PLACES), "--metrics", "0"],
  ]);
  const greedy: Guest[] = [];
  for (let free = PLACES; free > 0; free = PLACES - await forwarder.metric("guests")) {
    for (const _ of range(1, free)) {
      const guest = await Guest.connect(greedyAddress).catch(() => undefined);
      if (guest !== undefined) greedy.push(guest);
    }
  }
  const good = new LoadGuest(goodAddress, 1, { frames: 1, everyMs: 5 });
  await until(() => good.count() >= 200, "200 spans are written");
  await good.stop();
  await until(async () => (await assertEquation(forwarder)).held === 0, "nothing is held");
  await until(() => farEnd.spans === good.count(), "they arrive");
  const gone = greedy.filter(({ closed }) => closed).length;
  report("one sandbox takes all places", {
    "of the other's spans": good.count(),
    arrived: farEnd.spans,
    "of its connections ended": gone,
  });
  assert.equal(good.connections, 1);
  assert.deepEqual(good.ids().filter((id) => !farEnd.arrivals.has(id)), []);
  assert.equal(await forwarder.metric("guests_disconnected_total", "max-guests"), gone);
  const { guest } = await forwarder.record("guest disconnected");
  assert.equal(guest, "greedy");
  for (const guest of greedy) guest[Symbol.dispose]();
});
