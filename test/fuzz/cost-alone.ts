// Prints what the payload on standard input costs, as a multiple of what a real agent's JSON costs, a byte.
// Use: bun test/fuzz/cost-alone.ts <PAYLOAD
import { readFileSync } from "node:fs";
import process from "node:process";
import { CostMeter } from "./cost.ts";

process.stdout.write(String(new CostMeter().measure(new Uint8Array(readFileSync(0)))));
