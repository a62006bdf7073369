import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Random } from "../../../decode/support/random.ts";
import type { Forwarder } from "../../../process/support/forwarder.ts";
import { CLEAN } from "../../../process/support/process.ts";
import { Sandbox } from "../../../process/support/sandbox.ts";
import { ServiceManagerStandIn } from "../../../process/support/service-manager.ts";
import { until } from "../../../support/until.ts";
import { FarEnd } from "./far-end.ts";
import { LoadGuest, type Pace } from "./load.ts";

/** How one process of the forwarder ends and the next one comes. */
export const RESTARTS = ["stop", "take-over", "kill"] as const;
export type Restart = (typeof RESTARTS)[number];

/** How far apart guests' ids are: more than any of them sends. */
const IDS_PER_GUEST = 10_000_000;
/** Between two restarts, milliseconds, at most; half of that at least. */
const LIFE_MS = 400;

/** What came of it. */
export interface RestartFigures {
  readonly sent: number;
  readonly arrived: number;
  readonly duplicates: number;
}

/**
 * Restarts a forwarder again and again while guests keep sending, and asserts that each guest has only ever had one
 * connection, and that every span that a guest has written whole arrives.
 *
 * @param paces how each of the guests sends.
 */
export async function restartUnderLoad(
  restarts: readonly Restart[],
  paces: readonly Pace[],
): Promise<RestartFigures> {
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
  const guests = paces.map((pace, index) => new LoadGuest(sandbox.address, 1 + index * IDS_PER_GUEST, pace));
  try {
    // A connection that is not stored yet ends with its process.
    const stored = (): number => manager.names.filter((name) => name.startsWith("guest|")).length;
    await until(() => stored() === guests.length, "every connection is stored");
    for (const restart of restarts) {
      await sleep(LIFE_MS / 2 + random.below(LIFE_MS / 2));
      const old = forwarder;
      switch (restart) {
        case "stop":
          assert.deepEqual(await old.stop(), CLEAN);
          forwarder = await start(false);
          break;
        case "kill":
          await old.stop("SIGKILL");
          forwarder = await start(false);
          break;
        case "take-over":
          forwarder = await start(true);
          assert.deepEqual(await old.exited, CLEAN);
      }
    }
    await sleep(LIFE_MS);
    assert.deepEqual([...new Set(guests.map(({ connections }) => connections))], [1]);
    await Promise.all(guests.map((guest) => guest.stop()));
    const sent = guests.flatMap((guest) => guest.ids());
    const missing = (): string[] => sent.filter((id) => !farEnd.arrivals.has(id));
    await until(() => missing().length === 0, "every span arrives").catch((error: unknown) => {
      throw new Error(`${missing().length} of ${sent.length} spans have not arrived`, { cause: error });
    });
    return {
      sent: sent.length,
      arrived: farEnd.spans,
      duplicates: farEnd.duplicates,
    };
  } finally {
    await Promise.all(guests.map((guest) => guest.stop()));
    await forwarder[Symbol.asyncDispose]();
  }
}
