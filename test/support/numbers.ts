/** The whole numbers from `first` to `last`. */
export function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** A number as a span's ID: 16 hexadecimal digits. */
export function spanId(number: number): string {
  return number.toString(16).padStart(16, "0");
}
