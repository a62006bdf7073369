import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Launcher } from "./processes.ts";

// Counts the instructions of a program by running it in QEMU's user mode with a plugin (instruction-counter.c), because
// most virtual machines have no hardware counters. The figures of different machines can be compared.

const SOURCE = fileURLToPath(new URL("instruction-counter.c", import.meta.url));
/** QEMU's emulator of this machine's own architecture. */
const EMULATOR: string | undefined = { x64: "qemu-x86_64", arm64: "qemu-aarch64" }[process.arch as string];
/** The versions of QEMU that accept plugins of version 1 of its interface. */
const LEAST_VERSION = 4.2;
const FIRST_OTHER_VERSION = 9;
/** The plugin's file: bytes of each slot, and where in a slot the thread's ID is. */
const SLOT_BYTES = 64;
const THREAD_AT = 8;
const COMPILER_OPTIONS = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror"];
const PLUGIN_OPTIONS = ["-fPIC", "-shared", "-fvisibility=hidden"];

/** Instructions that a process has executed until now in user mode. */
export interface Instructions {
  readonly total: number;
  readonly mainThread: number;
}

/** What is missing on this machine for counting, and what to do about it; undefined if nothing is. */
export function missingForCounting(): string | undefined {
  if (EMULATOR === undefined) return `QEMU's emulator of ${process.arch} is not known to this benchmark`;
  const emulator = spawnSync(EMULATOR, ["--version"], { encoding: "utf8" });
  if (emulator.error !== undefined) return `${EMULATOR} is not installed: install qemu-user`;
  const [, version = ""] = /version (\d+\.\d+)/.exec(emulator.stdout) ?? [];
  const isRightVersion = Number(version) >= LEAST_VERSION && Number(version) < FIRST_OTHER_VERSION;
  const { stdout: help } = spawnSync(EMULATOR, ["--help"], { encoding: "utf8" });
  // One that is linked statically, like Debian's since version 13, takes no plugins.
  if (!isRightVersion || !help.includes("-plugin")) {
    return `${EMULATOR} ${version} does not take the plugin: install QEMU ${LEAST_VERSION} to 8.2 that is linked ` +
      "dynamically, like Debian 12's qemu-user";
  }
  if (spawnSync("cc", ["--version"]).error !== undefined) return "no C compiler (cc) is installed: install gcc";
  return undefined;
}

/** Runs programs whose instructions are counted. */
export class InstructionCounter {
  readonly #plugin: string;

  /**
   * Builds the plugin. Throws if that fails.
   *
   * @param directory where it is built.
   */
  constructor(directory: string) {
    this.#plugin = join(directory, "instruction-counter.so");
    compile(SOURCE, this.#plugin, PLUGIN_OPTIONS);
  }

  /**
   * Starts programs with counting.
   *
   * @param counts the file that the counts are in; it is made by the program's own user.
   */
  launcher(counts: string): Launcher {
    // QEMU takes a comma within a path as two of them.
    const [plugin, file] = [this.#plugin, counts].map((path) => path.replaceAll(",", ",,"));
    // Programs choose their code by what the processor can do, which is here everything that QEMU can.
    return { command: [EMULATOR as string, "-cpu", "max", "-plugin", `${plugin},counts=${file}`] };
  }
}

/** Compiles a program or a library in C. Throws with what the compiler says if it cannot. */
export function compile(source: string, output: string, options: readonly string[]): void {
  const { status, stderr } = spawnSync("cc", [...COMPILER_OPTIONS, ...options, "-o", output, source], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`cc cannot compile ${source}: ${stderr}`);
}

/**
 * What has been counted until now.
 *
 * @param counts the file that the launcher was made with.
 * @param pid the process, whose main thread has the same ID.
 */
export function readInstructions(counts: string, pid: number): Instructions {
  const bytes = readFileSync(counts);
  let total = 0;
  let mainThread = 0;
  for (let at = 0; at < bytes.length; at += SLOT_BYTES) {
    const instructions = Number(bytes.readBigUInt64LE(at));
    total += instructions;
    if (bytes.readBigUInt64LE(at + THREAD_AT) === BigInt(pid)) mainThread += instructions;
  }
  return { total, mainThread };
}
