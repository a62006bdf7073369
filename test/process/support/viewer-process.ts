import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import type { Forwarder } from "./forwarder.ts";

/** The only child of a process. */
function childOf(parent: number): number {
  const children = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).filter((name) => {
    try {
      return readFileSync(`/proc/${name}/stat`, "utf8").split(") ")[1]?.split(" ")[1] === String(parent);
    } catch {
      // It ended in the meantime.
      return false;
    }
  });
  assert.equal(children.length, 1);
  return Number(children[0]);
}

/** The process that starts the viewer, and starts it again. It is the only child of a forwarder without a helper. */
export function supervisorOf(forwarder: Forwarder): number {
  return childOf(forwarder.child.pid as number);
}

/** The viewer's process. */
export function viewerOf(forwarder: Forwarder): number {
  return childOf(supervisorOf(forwarder));
}
