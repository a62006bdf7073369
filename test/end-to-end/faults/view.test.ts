import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { Page, viewerUrl } from "../../process/support/page.ts";
import { Pipeline } from "../../process/support/pipeline.ts";
import { CLEAN } from "../../process/support/process.ts";
import { guestLife, Sandbox } from "../../process/support/sandbox.ts";
import { plainFrames } from "../../process/support/spans.ts";
import { test } from "../../process/support/test.ts";
import { range } from "../../support/numbers.ts";
import { until } from "../../support/until.ts";
import { viewerOf } from "../../process/support/viewer-process.ts";
import { fillUp, mountSmall } from "./support/disk.ts";

const MIB = 1024 * 1024;
const BROWSERS = 100;
/** Spans of each step, and how large each is, bytes: more than the pipe to the viewer and its queue hold. */
const SPANS = 1500;
const SPAN_BYTES = 12_000;

/** A browser that shows the list of sandboxes, and asks for it again whenever something changes. */
async function browse(page: Page, ends: AbortSignal): Promise<number> {
  let answers = 0;
  while (!ends.aborted) {
    try {
      await page.get("/sandboxes");
      answers++;
    } catch {
      // The viewer is being started again.
    }
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  return answers;
}

test("with the viewer looked at, stopped, killed and its disk full, the collector gets each span once", async () => {
  using disk = new Sandbox();
  using _mounted = mountSmall(disk.path("disk"), 8 * MIB);
  const store = join(disk.path("disk"), "traces");
  await using pipeline = await Pipeline.start([
    ...["--view", "127.0.0.1:0", "--store", store, "--kubernetes-metadata", "off"],
    ...["--metrics", "127.0.0.1:0"],
  ]);
  const { sandbox, stub, forwarder } = pipeline;
  const url = await viewerUrl(forwarder);
  const browsing = new AbortController();
  const browsers = await Promise.all(range(1, BROWSERS).map(() => Page.open(url)));
  const browsed = Promise.all(browsers.map((page) => browse(page, browsing.signal)));

  let sent = 0;
  const sendAndCheck = async (when: string): Promise<void> => {
    await guestLife(sandbox.address, plainFrames(sent + 1, SPANS, SPAN_BYTES));
    sent += SPANS;
    await until(() => stub.taken.size === sent, `the collector has all spans ${when}`);
    assert.ok([...stub.taken.values()].every((times) => times === 1), `each once ${when}`);
    assert.equal(await forwarder.metric("spans_dropped_total", "collector"), 0);
  };

  await sendAndCheck("with a hundred browsers");
  const stopped = viewerOf(forwarder);
  process.kill(stopped, "SIGSTOP");
  try {
    await sendAndCheck("with a viewer that is stopped");
  } finally {
    process.kill(stopped, "SIGCONT");
  }
  process.kill(viewerOf(forwarder), "SIGKILL");
  await sendAndCheck("with a viewer that is killed");
  await forwarder.record(/^the viewer serves its page again/);
  fillUp(disk.path("disk"));
  await sendAndCheck("with a disk that is full");
  await forwarder.record(/^spans are not stored; forwarding goes on/);

  browsing.abort();
  const answers = await browsed;
  assert.ok(answers.every((count) => count > 0), "each browser had answers");
  const held = async (): Promise<number> => await forwarder.metric("spans_held", "store");
  await until(async () => await held() === 0, "the viewer has read everything, or it was dropped");
  const known = await forwarder.metric("spans_forwarded_total", "store") +
    await forwarder.metric("spans_dropped_total", "store");
  assert.equal(known, sent);
  assert.deepEqual(await forwarder.stop(), CLEAN);
});
