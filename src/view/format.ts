const UNITS = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]] as const;

/** A duration with three digits, such as `61.9 ms`. @param ns nanoseconds. */
export function formatDuration(ns: number): string {
  if (ns < 0) return `−${formatDuration(-ns)}`;
  for (const [size, unit] of UNITS) {
    // What rounds up to 1000 of a unit is shown in the next one.
    if (ns < size * 0.9995) continue;
    const value = ns / size;
    return `${value >= 999.5 ? Math.round(value) : value.toPrecision(3)} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}
