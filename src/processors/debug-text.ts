/** What stands in place of a value that was cut out. */
export const REDACTED = "[redacted]";

/**
 * Where a field begins whose value is secret: a container's environment and arguments, what CopyFile and WriteStream
 * carry, and proxies with their passwords. Kata's types are `Process`, `Hook`, `CopyFileRequest`, `WriteStreamRequest`
 * and `AgentConfig`. A name counts only as a whole; it may be quoted, as in a map.
 */
const SECRET_FIELD = /(?<![A-Za-z0-9_])(?:[Ee]nv|[Aa]rgs|data|[a-z_]*proxy)(?:\\*")?\s*:\s*(?:Some\(\s*)*/g;

/**
 * Cuts the secret values out of Rust's debug text (`{:?}` and `{:#?}`), which agents put into attributes. Text in which
 * such a value does not end, because somebody has cut the text, is cut off there. Linear in the text's length.
 *
 * @returns the text without them, or undefined if there are none.
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
 * Where a list, map or string ends that begins at `start`; `start` itself if something else is there, such as `None`
 * or a number. The text's end if it does not end.
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
      // Backslashes outside of a string are none of Rust's: they are passed over.
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
 * Where a quoted string ends that begins at `start`, with its quotes. Debug text of debug text escapes its quotes, so
 * one that begins with k backslashes and a quote ends with as many; a quote or backslash within it has more of them.
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
