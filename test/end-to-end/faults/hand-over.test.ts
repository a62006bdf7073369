import assert from "node:assert/strict";
import { test } from "../../process/support/test.ts";
import { occupyProcessors } from "./support/busy.ts";
import type { Pace } from "./support/load.ts";
import { fromEnvironment, report } from "./support/report.ts";
import { type Restart, RESTARTS, restartUnderLoad } from "./support/restarts.ts";

const COUNT = fromEnvironment("KTF_FAULTS_RESTARTS", 51);
const KILLS = fromEnvironment("KTF_FAULTS_KILLS", 20);
const GUESTS: readonly Pace[] = Array<Pace>(100).fill({ frames: 5, everyMs: 50 });

test(`${GUESTS.length} guests keep sending through ${COUNT} restarts: every span arrives`, async () => {
  const restarts = Array.from({ length: COUNT }, (_, index) => RESTARTS[index % RESTARTS.length] ?? assert.fail());
  const figures = await restartUnderLoad(restarts, GUESTS);
  report(`${COUNT} restarts`, { ...figures });
  assert.equal(figures.arrived, figures.sent);
});

test(`${GUESTS.length} guests keep sending through stops and take-overs: every span arrives once`, async () => {
  const count = Math.ceil(COUNT / 3);
  const restarts = Array.from({ length: count }, (_, index) => RESTARTS[index % 2] ?? assert.fail());
  const figures = await restartUnderLoad(restarts, GUESTS);
  report(`${count} restarts without a kill`, { ...figures });
  assert.equal(figures.arrived, figures.sent);
});

test(`guests with frames of any size keep sending through ${KILLS} kills of a forwarder that is behind`, async () => {
  using _ = occupyProcessors(2);
  const paces: Pace[] = [
    // What they send comes in many reads, and waits for its turn.
    ...Array<Pace>(2).fill({ frames: 400, everyMs: 0 }),
    // Frames that are larger than a socket's buffer, so that each one is read in parts.
    ...Array<Pace>(4).fill({ frames: 1, everyMs: 20, bytes: 400_000 }),
    ...Array<Pace>(30).fill({ frames: 5, everyMs: 30, bytes: 4000 }),
  ];
  const figures = await restartUnderLoad(Array<Restart>(KILLS).fill("kill"), paces);
  report(`${KILLS} kills of a forwarder that is behind`, { ...figures });
  assert.equal(figures.arrived, figures.sent);
});
