import process from "node:process";
import type { WaterfallStyle } from "./waterfall.ts";

/** Columns where standard output is not a terminal. */
const DEFAULT_WIDTH = 100;
const SMALLEST_WIDTH = 40;

/** https://no-color.org: colours are for terminals, and never if `NO_COLOR` is set and not empty. */
export function isColourful(stream: { readonly isTTY?: boolean }): boolean {
  return stream.isTTY === true && !process.env["NO_COLOR"];
}

/**
 * How to draw on standard output.
 *
 * @param width columns, as the user wants them; undefined: as many as the terminal has.
 */
export function terminalStyle(width = process.stdout.columns ?? DEFAULT_WIDTH): WaterfallStyle {
  const { LC_ALL, LC_CTYPE, LANG } = process.env;
  return {
    width: Math.max(SMALLEST_WIDTH, width),
    colour: isColourful(process.stdout),
    // The order of setlocale(3).
    unicode: /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || ""),
  };
}
