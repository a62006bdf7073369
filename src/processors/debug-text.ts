/** What replaces a value that was cut out. */
export const REDACTED = "[redacted]";

/**
 * The beginning of a field whose value is secret: a container's environment and arguments, the data of CopyFile and
 * WriteStream, and proxies with their passwords. Kata's types are `Process`, `Hook`, `CopyFileRequest`,
 * `WriteStreamRequest` and `AgentConfig`. Only whole names count. They may be quoted, as in a map.
 */
const SECRET_FIELD = /(?<![A-Za-z0-9_])(?:[Ee]nv|[Aa]rgs|data|[a-z_]*proxy)(?:\\*")?\s*:\s*(?:Some\(\s*)*/g;

/**
 * Cuts secret values out of Rust's debug text (`{:?}` and `{:#?}`), which agents put into attributes. If such a value
 * does not end, because the text has been cut, everything from there on is cut out. Takes time linear in the length.
 *
 * @returns the text without secret values, or undefined if there are none.
 */
export function redactDebugText(text: string): string | undefined {
  let redacted = "";
  let copied = 0;
  SECRET_FIELD.lastIndex = 0;
  for (let field = SECRET_FIELD.exec(text); field !== null; field = SECRET_FIELD.exec(text)) {
    const start = SECRET_FIELD.lastIndex;
    const end = valueEnd(text, start);
    if (end === start) continue;
    redacted += text.slice(copied, start) + REDACTED;
    copied = end;
    SECRET_FIELD.lastIndex = end;
  }
  return copied === 0 ? undefined : redacted + text.slice(copied);
}

/**
 * The end of the list, map or string that begins at `start`. Returns `start` itself for anything else, such as `None`
 * or a number, and the end of the text if the value does not end.
 */
function valueEnd(text: string, start: number): number {
  let depth = 0;
  let at = start;
  while (at < text.length) {
    const character = text[at] as string;
    if (character === "[" || character === "{" || character === "(") depth++;
    else if (character === "]" || character === "}" || character === ")") depth--;
    else if (character === '"' || character === "\\") {
      const end = stringEnd(text, at);
      if (end === at && depth === 0) return start;
      // Rust writes no backslashes outside of strings, so they are skipped.
      at = Math.max(end, at + 1);
      if (depth === 0) return at;
      continue;
    } else if (depth === 0) return start;
    at++;
    if (depth <= 0) return at;
  }
  return text.length;
}

/**
 * The end of the quoted string that begins at `start`. Debug text within debug text has its quotes escaped, so a string
 * that begins with k backslashes and a quote ends in the same way, and quotes within it have more backslashes. Returns
 * `start` if there is no quote after the backslashes.
 */
function stringEnd(text: string, start: number): number {
  const level = backslashes(text, start);
  if (text[start + level] !== '"') return start;
  for (let at = start + level + 1; at < text.length;) {
    const run = backslashes(text, at);
    if (text[at + run] === '"' && run % (2 * (level + 1)) === level) return at + run + 1;
    at += run + 1;
  }
  return text.length;
}

function backslashes(text: string, start: number): number {
  let at = start;
  while (text[at] === "\\") at++;
  return at - start;
}
