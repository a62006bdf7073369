/** A stretch of time, nanoseconds since the sandbox's first span. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** The shortest stretch that can be seen, nanoseconds. */
const SHORTEST_NS = 100;

/** A stretch around another one, so that what is looked at does not touch the edges. */
export function padded({ from, to }: Stretch, share = 0.04): Stretch {
  const pad = Math.max((to - from) * share, SHORTEST_NS / 2);
  return { from: from - pad, to: to + pad };
}

/** A stretch scaled around a point that stays where it is. @param factor below 1 to see less. */
export function zoomed({ from, to }: Stretch, around: number, factor: number, all: Stretch): Stretch {
  const length = Math.min(Math.max((to - from) * factor, SHORTEST_NS), all.to - all.from);
  const share = (around - from) / (to - from);
  return within({ from: around - share * length, to: around + (1 - share) * length }, all);
}

/** A stretch moved, if need be, so that it lies within another. */
export function within({ from, to }: Stretch, all: Stretch): Stretch {
  const length = Math.min(to - from, all.to - all.from);
  const moved = Math.min(Math.max(from, all.from), all.to - length);
  return { from: moved, to: moved + length };
}

/** Where to write times: multiples of 1, 2 or 5 times a power of ten, some `wanted` of them. */
export function ticks({ from, to }: Stretch, wanted = 6): number[] {
  const raw = Math.max((to - from) / wanted, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw) ?? raw;
  const found: number[] = [];
  for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) found.push(tick === 0 ? 0 : tick);
  return found;
}
