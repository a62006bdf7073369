const UNITS = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]] as const;

/** A duration with three digits or fewer, such as `61.9 ms`. @param ns nanoseconds. */
export function formatDuration(ns: number, digits: 1 | 2 | 3 = 3): string {
  if (ns < 0) return `−${formatDuration(-ns, digits)}`;
  for (const [size, unit] of UNITS) {
    // What rounds up to 1000 of a unit is shown in the next one.
    if (ns < size * 0.9995) continue;
    const value = ns / size;
    return `${value >= 10 ** digits - 0.5 ? Math.round(value) : value.toPrecision(digits)} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

/** A share of one in percent with its sign, such as `+8.1 %`. */
export function formatChange(share: number): string {
  return `${share < 0 ? "−" : "+"}${formatPercent(share)}`;
}

/** A share of one in percent with an arrow for its sign, such as `▲ 8.1 %`. */
export function formatArrow(share: number): string {
  return `${share < 0 ? "▼" : "▲"} ${formatPercent(share)}`;
}

function formatPercent(share: number): string {
  const percent = Math.abs(share * 100);
  return `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
}

/** How long ago something was, such as `5 min ago`. @param ms milliseconds. */
export function formatAgo(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min ago`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h ago` : `${Math.round(hours / 24)} days ago`;
}

/** Characters that could reorder or hide text, or are not to be seen: everything of C0 and C1, format characters, lone surrogates. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** A guest's text made visible: control characters as their pictures, others by their number. */
export function visible(text: string, limit = 400): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}…` : text;
  return cut.replace(INVISIBLE, (character) => {
    const code = character.codePointAt(0) as number;
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? "␡" : `\\u{${code.toString(16)}}`;
  });
}
