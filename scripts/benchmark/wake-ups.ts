import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import type { Contender } from "./contenders.ts";
import type { Context, Measured } from "./parts.ts";
import { type Load, startLoad } from "./processes.ts";
import type { Row } from "./report.ts";

/**
 * How long after its start a process is looked at, milliseconds: while its memory changes, Bun collects garbage each
 * second, and after half a minute without a change only twice a minute.
 */
const REST_MS = 60_000;
/** For how long wake-ups are counted, milliseconds. */
const COUNT_MS = 30_000;
/** Spans a second, from one guest, for longer than anybody counts. */
const SPANS_PER_SECOND = 100;
const LOAD: Omit<Load, "sockets"> = {
  fixture: "load",
  encoding: "bincode",
  spanBytes: 0,
  guests: 1,
  rate: SPANS_PER_SECOND,
  spans: SPANS_PER_SECOND * 600,
};

/** A process that is looked at. */
interface Subject {
  readonly figure: string;
  readonly forwarder: Contender;
  readonly floor: Contender;
  readonly guests: net.Socket[];
}

/**
 * How often the threads of a process that has nothing to do, or little, wake up, beside an empty program on Bun with as
 * many connections. Everything is counted at the same time.
 */
export async function measureWakeUps({ whole }: Context): Promise<Measured> {
  const subjects: Subject[] = [];
  for (const guests of [0, 1, 100]) {
    const figure = `wake-ups a second, ${
      guests === 0 ? "no guest" : guests === 1 ? "a silent guest" : "100 silent guests"
    }`;
    const forwarder = await whole.start();
    const floor = await whole.start({ system: "empty" });
    const sockets = await connect([...forwarder.sockets, ...floor.sockets], guests);
    subjects.push({ figure, forwarder, floor, guests: sockets });
  }
  const busy = await whole.start();
  const busyFloor = await whole.start({ system: "empty" });
  const loads = [busy, busyFloor].map(({ sockets }) => startLoad({ ...LOAD, sockets }));
  subjects.push({
    figure: `wake-ups a second, one guest with ${SPANS_PER_SECOND} spans a second`,
    forwarder: busy,
    floor: busyFloor,
    guests: [],
  });
  await sleep(REST_MS);
  const before = subjects.map(counts);
  await sleep(COUNT_MS);
  const after = subjects.map(counts);
  for (const { child, figures } of loads) {
    figures.catch(() => {});
    child.kill();
  }
  const rows: Row[] = subjects.map(({ figure }, index) => {
    const [forwarder = NaN, floor = NaN] = [0, 1].map((which) =>
      ((after[index]?.[which] ?? NaN) - (before[index]?.[which] ?? NaN)) / (COUNT_MS / 1000)
    );
    return {
      ...{ figure, value: forwarder, unit: "" },
      comparisons: [{ with: "those of an empty program", ratio: forwarder / floor }],
    };
  });
  for (const { guests, forwarder, floor } of subjects) {
    for (const guest of guests) guest.destroy();
    await forwarder.stop();
    await floor.kill();
  }
  return { rows, notes: [], raw: { wakeUps: rows } };
}

/** How often the threads of a forwarder, and of the empty program beside it, have waited until now. */
function counts({ forwarder, floor }: Subject): number[] {
  return [forwarder, floor].map(({ pid }) => waits(pid));
}

/** Voluntary context switches of all threads of a process; proc_pid_status(5). */
function waits(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).reduce((sum, task) => {
    const status = readFileSync(join(tasks, task, "status"), "utf8");
    return sum + Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
  }, 0);
}

async function connect(paths: readonly string[], each: number): Promise<net.Socket[]> {
  const sockets = paths.flatMap((path) => Array.from({ length: each }, () => net.connect(path)));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  return sockets;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
