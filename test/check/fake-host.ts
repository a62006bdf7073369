import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { HostFiles } from "../../src/check/host-files.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** A host's root directory that a test fills. */
export class FakeHost implements Disposable {
  readonly #directory = temporaryDirectory();
  readonly files: HostFiles;

  /** @param files the texts of files by their paths on the host. */
  constructor(files: Readonly<Record<string, string>> = {}) {
    this.files = new HostFiles(this.root);
    for (const [path, text] of Object.entries(files)) this.write(path, text);
  }

  get root(): string {
    return this.#directory.path;
  }

  write(path: string, text: string): void {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  directory(path: string): void {
    mkdirSync(join(this.root, path), { recursive: true });
  }

  link(target: string, path: string): void {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    symlinkSync(target, file);
  }

  /** A process with these arguments, of root's. */
  process(pid: number, words: readonly string[], uid = 0): void {
    this.write(`/proc/${pid}/cmdline`, words.map((word) => `${word}\0`).join(""));
    this.write(`/proc/${pid}/comm`, `${(words[0] ?? "kthread").split("/").at(-1)?.slice(0, 15)}\n`);
    this.write(`/proc/${pid}/status`, `Name:\tx\nUid:\t${uid}\t${uid}\t${uid}\t${uid}\n`);
  }

  [Symbol.dispose](): void {
    this.#directory[Symbol.dispose]();
  }
}
