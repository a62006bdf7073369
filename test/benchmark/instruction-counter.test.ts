import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import {
  compile,
  InstructionCounter,
  type Instructions,
  missingForCounting,
  readInstructions,
} from "../../scripts/benchmark/instruction-counter.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

// Programs in assembler, whose number of instructions is known, are counted exactly.

const missing = missingForCounting();
const NEEDS_QEMU = missing === undefined ? {} : { skip: `needs QEMU's user mode and a compiler: ${missing}` };
const NEEDS_X86 = process.arch === "x64"
  ? NEEDS_QEMU
  : { skip: "needs x86-64, which has repeated string instructions" };

/** Programs without a library, for both architectures. */
const BARE = ["-nostdlib", "-static"];
/** Ends the program with success: three instructions. */
const EXIT = process.arch === "x64" ? "mov $60,%eax; xor %edi,%edi; syscall" : "mov x8,93; mov x0,0; svc 0";

/** A loop of two instructions, after one that sets the counter. */
function loop(rounds: number): string {
  return process.arch === "x64"
    ? `mov $${rounds},%ecx; 1: dec %ecx; jnz 1b`
    : `ldr x1,=${rounds}; 1: subs x1,x1,1; b.ne 1b`;
}

function bareProgram(code: string): string {
  return `.bss\nfrom: .skip 1000000\nto: .skip 1000000\n.text\n.globl _start\n_start: ${code}; ${EXIT}\n`;
}

/** Compiles a program, runs it, and counts its instructions. */
function count(text: string, extension: "s" | "c", options: readonly string[]): Instructions {
  using directory = temporaryDirectory();
  const [source, program, counts] = [`source.${extension}`, "program", "comma,counts"]
    .map((name) => join(directory.path, name)) as [string, string, string];
  writeFileSync(source, text);
  compile(source, program, options);
  const [first, ...args] = new InstructionCounter(directory.path).launcher(counts).command;
  const { status, stderr, pid } = spawnSync(first, [...args, program], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return readInstructions(counts, pid);
}

for (const rounds of [1, 1000, 5_000_000]) {
  test(`a loop of ${rounds} rounds is counted to the instruction`, NEEDS_QEMU, () => {
    const instructions = 1 + 2 * rounds + 3;
    assert.deepEqual(count(bareProgram(loop(rounds)), "s", BARE), { total: instructions, mainThread: instructions });
  });
}

for (
  const [what, code, instructions] of [
    ["rep movsb", "mov $1000000,%ecx; lea from(%rip),%rsi; lea to(%rip),%rdi; rep movsb", 4],
    ["rep stosq", "mov $125000,%ecx; lea to(%rip),%rdi; rep stosq", 3],
    ["rep movsw", "mov $500000,%ecx; lea from(%rip),%rsi; lea to(%rip),%rdi; rep movsw", 4],
    ["repe cmpsb", "mov $1000000,%ecx; lea from(%rip),%rsi; lea to(%rip),%rdi; repe cmpsb", 4],
    ["repne scasb", "mov $1000000,%ecx; mov $1,%eax; lea to(%rip),%rdi; repne scasb", 4],
  ] as const
) {
  test(`${what} of a million bytes is one instruction`, NEEDS_X86, () => {
    assert.equal(count(bareProgram(code), "s", BARE).total, instructions + 3);
  });
}

test("what only begins like a repeated instruction is counted", NEEDS_X86, () => {
  // Each begins a block, because it is jumped to. pause is rep nop, and popcnt and movss have the same prefix.
  const code = "jmp 1f; 1: pause; jmp 2f; 2: popcnt %eax,%ebx; jmp 3f; 3: movss %xmm0,%xmm1";
  assert.equal(count(bareProgram(code), "s", BARE).total, 6 + 3);
});

test("the main thread is told apart from others", NEEDS_QEMU, () => {
  const [main, other] = [3_000_000, 1_000_000];
  const text = `
    #include <pthread.h>
    static void spin(long rounds) { for (volatile long i = 0; i < rounds; i++) {} }
    static void *run(void *rounds) { spin((long)rounds); return 0; }
    int main(void) {
      // Volatile, so that all use the same code.
      volatile long rounds = ${main}L;
      for (int i = 0; i < 3; i++) {
        pthread_t thread;
        if (pthread_create(&thread, 0, run, (void *)${other}L) != 0) return 1;
        if (pthread_join(thread, 0) != 0) return 1;
      }
      spin(rounds);
      return 0;
    }`;
  const { total, mainThread } = count(text, "c", ["-pthread"]);
  const others = total - mainThread;
  // The loop has some instructions, always the same; loading the program's libraries takes some 100,000.
  const perRound = Math.round(others / (3 * other));
  assert.ok(perRound >= 3, `${others} instructions`);
  assert.ok(Math.abs(others - perRound * 3 * other) < 10_000, `${others} instructions`);
  assert.ok(mainThread > perRound * main && mainThread < perRound * main + 1_000_000, `${mainThread} instructions`);
});

test("what cannot be compiled is said by the compiler", NEEDS_QEMU, () => {
  assert.throws(
    () => count("int main(void) { return nothing; }", "c", []),
    /cannot compile .*source\.c:1:25: error: .*nothing/s,
  );
});
