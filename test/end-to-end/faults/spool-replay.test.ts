import assert from "node:assert/strict";
import { guestLife } from "../../process/support/sandbox.ts";
import { plainFrames } from "../../process/support/spans.ts";
import { test } from "../../process/support/test.ts";
import { Random } from "../../decode/support/random.ts";
import { until } from "../../support/until.ts";
import { assertEquation } from "./support/equation.ts";
import { fromEnvironment, report } from "./support/report.ts";
import { spooled, Stage } from "./support/stage.ts";

const KILLS = 6;
/** As many in a request as by default: two requests are then a tenth of the larger spool. */
const DEFAULT_BATCHES = { OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "", OTEL_BSP_SCHEDULE_DELAY: "" };

for (const spans of [2000, 40_000]) {
  test(`killed while it replays a spool of ${spans} spans: at most one in a hundred comes twice`, async () => {
    const seed = fromEnvironment("KTF_FAULTS_SEED", Date.now() % 1_000_000_007);
    const random = new Random(seed);
    let most = 0;
    let total = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      await using stage = await Stage.open({ args: spooled, run: { env: DEFAULT_BATCHES } });
      const { farEnd } = stage;
      farEnd.answer = () => ({ kind: "status", status: 503 });
      const first = await stage.start();
      await guestLife(stage.sandbox.address, plainFrames(1, spans, 300));
      await until(async () => (await first.figures()).received === spans, "all are taken in");
      await first.stop();
      farEnd.answer = () => ({ kind: "ok" });
      const second = await stage.start();
      const enough = spans * (10 + random.below(80)) / 100;
      await until(() => farEnd.spans >= enough, "a part is delivered");
      second.kill("SIGKILL");
      await second.exited;
      const third = await stage.start();
      await until(async () => (await assertEquation(third)).held === 0, "the rest is delivered");
      await third.stop();
      assert.equal(farEnd.spans, spans);
      most = Math.max(most, farEnd.duplicates);
      total += farEnd.duplicates;
    }
    report("killed while it replays", {
      seed,
      kills: KILLS,
      spans,
      "came twice at most": most,
      "on average": total / KILLS,
    });
    assert.ok(most <= spans / 100, `seed ${seed}: ${most} of ${spans} came twice`);
  });
}
