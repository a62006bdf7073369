import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { Random } from "../../../decode/support/random.ts";
import type { Forwarder } from "../../../process/support/forwarder.ts";
import { CLEAN } from "../../../process/support/process.ts";
import { Sandbox } from "../../../process/support/sandbox.ts";
import { ServiceManagerStandIn } from "../../../process/support/service-manager.ts";
import { until } from "../../../support/until.ts";
import { FarEnd } from "./far-end.ts";
import { LoadGuest } from "./load.ts";

/** How one process of the forwarder ends and the next one comes. */
export const RESTARTS = ["stop", "take-over", "kill"] as const;
export type Restart = (typeof RESTARTS)[number];

/** How far apart guests' ids are: more than any of them sends. */
const IDS_PER_GUEST = 10_000_000;
/** What was written so long before a kill, to a process that was there already, must be delivered, milliseconds. */
const SAFE_MS = 1000;
/** Between two restarts, milliseconds, at most; half of that at least. */
const LIFE_MS = 400;

/** What came of it. */
export interface RestartFigures {
  readonly sent: number;
  readonly arrived: number;
  /** Of those that were written in the second before a kill. */
  readonly lost: number;
  readonly duplicates: number;
}

/**
 * Restarts a forwarder again and again while guests keep sending, and asserts that each guest has only ever had one
 * connection, and that every span that a guest has written whole arrives: all but those which a killed process may have
 * held in memory.
 */
export async function restartUnderLoad(restarts: readonly Restart[], guestCount: number): Promise<RestartFigures> {
  using manager = new ServiceManagerStandIn();
  using sandbox = new Sandbox();
  await using farEnd = await FarEnd.start();
  const random = new Random(50);
  const args = [
    ...["--socket-path", sandbox.socketPath, "--otlp-endpoint", farEnd.url, "--spool-dir", sandbox.path("spool")],
    ...["--take-over", sandbox.path("take-over")],
  ];
  const start = async (isBeside: boolean): Promise<Forwarder> => {
    const forwarder = manager.launch(args, {}, isBeside);
    await forwarder.record("listening");
    return forwarder;
  };
  let forwarder = await start(false);
  /** When the last process before this one stopped reading: what came since may be what this one reads now. */
  let begun = performance.now();
  const kills: { readonly from: number; readonly to: number }[] = [];
  const guests = Array.from(
    { length: guestCount },
    (_, index) => new LoadGuest(sandbox.address, 1 + index * IDS_PER_GUEST, { frames: 5, everyMs: 50 }),
  );
  try {
    for (const restart of restarts) {
      await sleep(LIFE_MS / 2 + random.below(LIFE_MS / 2));
      const old = forwarder;
      const ended = performance.now();
      switch (restart) {
        case "stop":
          assert.deepEqual(await old.stop(), CLEAN);
          forwarder = await start(false);
          break;
        case "kill":
          {
            const from = Math.min(performance.now() - SAFE_MS, begun);
            await old.stop("SIGKILL");
            kills.push({ from, to: performance.now() });
          }
          forwarder = await start(false);
          break;
        case "take-over":
          forwarder = await start(true);
          assert.deepEqual(await old.exited, CLEAN);
      }
      begun = ended;
    }
    await sleep(LIFE_MS);
    assert.deepEqual([...new Set(guests.map(({ connections }) => connections))], [1]);
    await Promise.all(guests.map((guest) => guest.stop()));
    const mayBeLost = (at: number): boolean => kills.some(({ from, to }) => at > from && at < to);
    const written = guests.flatMap((guest) => guest.written.map((each) => ({ guest, ...each })));
    const idsOf = ({ first, count, guest }: (typeof written)[number]): string[] => guest.idsOf({ first, count });
    const safe = written.filter(({ at }) => !mayBeLost(at)).flatMap(idsOf);
    const unsafe = written.filter(({ at }) => mayBeLost(at)).flatMap(idsOf);
    await until(() => safe.every((id) => farEnd.arrivals.has(id)), "every span that no kill can have taken arrives");
    return {
      sent: safe.length + unsafe.length,
      arrived: farEnd.spans,
      lost: unsafe.filter((id) => !farEnd.arrivals.has(id)).length,
      duplicates: farEnd.duplicates,
    };
  } finally {
    await Promise.all(guests.map((guest) => guest.stop()));
    await forwarder[Symbol.asyncDispose]();
  }
}
