import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { text } from "node:stream/consumers";

/** A request that someone refuses. */
export interface Refusal {
  /** Which request, from 0 on. */
  readonly index: number;
  /** Who refuses it. */
  readonly judge: string;
  readonly error: string;
}

/** The judges' command lines, as `judges/build` prints them. Throws if the environment does not have them. */
export function judgeCommands(): string[] {
  const commands = (process.env["KTF_JUDGES"] ?? "").split("\n").filter((line) => line !== "");
  if (commands.length === 0) {
    throw new Error("KTF_JUDGES must be what test/end-to-end/strictness/judges/build prints: run scripts/test-system");
  }
  return commands;
}

/** Has every judge decode every request; returns who refuses what. */
export async function judge(requests: readonly Uint8Array[]): Promise<Refusal[]> {
  const framed: Uint8Array[] = [];
  for (const request of requests) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(request.length);
    framed.push(length, request);
  }
  const input = Buffer.concat(framed);
  // One after the other: two at once gain nothing on two cores that the generator shares.
  const refusals: Refusal[] = [];
  for (const command of judgeCommands()) refusals.push(...await ask(command, input));
  return refusals;
}

async function ask(command: string, input: Uint8Array): Promise<Refusal[]> {
  const [program = "", ...options] = command.split(" ");
  const child = spawn(program, options, { stdio: ["pipe", "pipe", "inherit"] });
  const exit = once(child, "exit");
  // A judge that dies says so by its exit code.
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const lines = (await text(child.stdout)).split("\n").filter((line) => line !== "");
  assert.deepEqual(await exit, [0, null], `${command} failed`);
  return lines.map((line) => {
    const [index, judge = "", error = ""] = line.split("\t");
    return { index: Number(index), judge, error };
  });
}
