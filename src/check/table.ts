import { jsonText, printable } from "../base/log.ts";
import { COMMIT, VERSION } from "../base/version.ts";
import type { Finding, State } from "./finding.ts";

/** The word for a state, in a column of its own. */
const WORDS: Readonly<Record<State, string>> = {
  ok: "ok",
  note: "-",
  unknown: "?",
  warning: "warning",
  problem: "PROBLEM",
};
const STATE_WIDTH = Math.max(...Object.values(WORDS).map((word) => word.length));
/** Longer names push what was found to the right, columns. On a narrow terminal there is less room for them. */
const ITEM_WIDTH = { narrow: 24, wide: 34 };
/** Columns of a terminal that is not narrow. */
const WIDE = 110;
/** The longest text of a row, UTF-16 units. */
const LONGEST = 400;

/**
 * The findings for people: a heading for each area, a row for each finding, and below it what to do, which is not
 * broken into lines, because it has commands to copy.
 *
 * @param columns of the terminal, which rows fit into.
 */
export function tableOf(findings: readonly Finding[], columns = Infinity): string {
  const itemWidth = columns < WIDE ? ITEM_WIDTH.narrow : ITEM_WIDTH.wide;
  const lines: string[] = [];
  let area = "";
  for (const finding of findings) {
    if (finding.area !== area) lines.push(...(area === "" ? [] : [""]), finding.area);
    area = finding.area;
    const item = printable(finding.item, LONGEST).padEnd(itemWidth);
    const row = `  ${WORDS[finding.state].padEnd(STATE_WIDTH)}  ${item}  ${printable(finding.found, LONGEST)}`;
    lines.push(...broken(row, columns, STATE_WIDTH + itemWidth + 6));
    if (finding.advice !== undefined) {
      lines.push(`${" ".repeat(STATE_WIDTH + 4)}→ ${printable(finding.advice, LONGEST)}`);
    }
  }
  return `${lines.join("\n")}\n\n${summary(findings)}\n`;
}

/** Breaks a row at blanks, as far as it has any, into lines of which all but the first are indented. */
function broken(row: string, columns: number, indent: number): string[] {
  const lines: string[] = [];
  let rest = row;
  while (rest.length > columns) {
    const at = rest.lastIndexOf(" ", columns);
    if (at <= indent) break;
    lines.push(rest.slice(0, at));
    rest = `${" ".repeat(indent)}${rest.slice(at + 1)}`;
  }
  return [...lines, rest];
}

function summary(findings: readonly Finding[]): string {
  const count = (state: State): number => findings.filter((finding) => finding.state === state).length;
  const said = (number: number, one: string, more: string): string => `${number} ${number === 1 ? one : more}`;
  const words = [said(count("problem"), "problem", "problems"), said(count("warning"), "warning", "warnings")];
  const unseen = count("unknown");
  if (unseen > 0) words.push(`${said(unseen, "thing", "things")} that could not be seen`);
  return `${count("problem") === 0 ? "Ready" : "Not ready"}: ${words.join(", ")}.`;
}

/** The findings for programs: one JSON object, and a newline. */
export function jsonOf(findings: readonly Finding[]): string {
  const isReady = !findings.some(({ state }) => state === "problem");
  return `${jsonText({ version: VERSION, commit: COMMIT, ready: isReady, findings })}\n`;
}
