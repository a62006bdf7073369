/** Part of a document that a script writes, between two marks. */
export interface MarkedBlock {
  /** What the block contains. */
  readonly name: string;
  /** The script that writes it. */
  readonly script: string;
}

/** A document with a block's content brought up to date; undefined if it has no marks for that block. */
export function withBlock(document: string, { name, script }: MarkedBlock, content: string): string | undefined {
  const beginMark = `<!-- ${name}: written by ${script} -->`;
  const begin = document.indexOf(beginMark);
  const end = document.indexOf(`<!-- /${name} -->`);
  if (begin < 0 || end < begin) return undefined;
  return `${document.slice(0, begin + beginMark.length)}\n\n${content}\n${document.slice(end)}`;
}
