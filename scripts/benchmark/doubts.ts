import type { DecodeFigures } from "./decode.ts";
import type { LoadRun } from "./whole-process.ts";

/** If equal work takes this many times as long as in the quietest round, the machine is busy with something else. */
const NOISE_LIMIT = 1.25;
/** It is also busy if other processes take more than this of one core. */
const OTHERS_LIMIT = 0.1;
/** The forwarder may have to wait for a helper that takes more than this of one core. */
const HELPER_LIMIT = 0.9;

/** Reasons to doubt what decoding was measured to take. */
export function doubtsAboutDecoding(decoding: readonly DecodeFigures[]): string[] {
  const unevenness = Math.max(...decoding.map(({ ours }) => ours.median / ours.best));
  return unevenness <= NOISE_LIMIT ? [] : [
    `The machine was noisy while decoding was measured: equal work took ${unevenness.toFixed(2)} times as long as in ` +
    `the quietest round (limit ${NOISE_LIMIT}).`,
  ];
}

/** Reasons to doubt the figures of whole processes. */
export function doubtsAboutRuns(runs: readonly LoadRun[]): string[] {
  const others = Math.max(...runs.map((run) => run.others));
  const helper = Math.max(...runs.flatMap(({ busy }) => [busy.load, busy.stub]));
  return [
    ...(others <= OTHERS_LIMIT ? [] : [
      `The machine was noisy while processes were measured: others took ${others.toFixed(2)} of one core (limit ` +
      `${OTHERS_LIMIT}).`,
    ]),
    ...(helper <= HELPER_LIMIT ? [] : [
      `The load or the stub was ${(helper * 100).toFixed(0)} % busy: by the clock it may be what was measured.`,
    ]),
  ];
}
