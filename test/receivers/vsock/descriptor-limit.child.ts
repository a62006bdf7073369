/**
 * A process that listens with as many descriptors as it is allowed, and for each line on its standard input says how
 * many guests it has accepted, how many have sent what they should and how many more files it can open.
 * Argument: the socket's path without its port.
 */
import { closeSync, openSync } from "node:fs";
import process from "node:process";
import { DescriptorBudget, openFileLimit } from "../../../src/receivers/vsock/descriptor-budget.ts";
import { HybridListener } from "../../../src/receivers/vsock/hybrid-listener.ts";
import { bytesOf, Guests } from "./guests.ts";

const problems: string[] = [];
const onProblem = (message: string) => problems.push(message);
const guests = new Guests();
const listener = new HybridListener(
  { socketPath: process.argv[2] ?? "", port: 1, mode: 0o600 },
  { budget: new DescriptorBudget(openFileLimit(), onProblem), onProblem },
);
await listener.listen(guests.accept);

function filesToOpen(most: number): number {
  const files: number[] = [];
  try {
    while (files.length < most) files.push(openSync("/dev/null", "r"));
  } catch (error) {
    if ((error as { code?: string }).code !== "EMFILE") throw error;
  }
  for (const file of files) closeSync(file);
  return files.length;
}

process.stdin.on("data", () => {
  const accepted = guests.seen.length;
  const whole = guests.seen.filter((guest) => bytesOf(guest) === "hello").length;
  process.stdout.write(`${JSON.stringify({ accepted, whole, files: filesToOpen(8), problems })}\n`);
});
process.stdin.on("end", () => process.exit(0));
process.stdout.write("listening\n");
