import { spawn } from "node:child_process";

/** Has programs that never wait take the machine's processors, beside what is tested. */
export function occupyProcessors(count: number): Disposable {
  const loops = Array.from({ length: count }, () => spawn("/bin/sh", ["-c", "while :; do :; done"]));
  return { [Symbol.dispose]: () => loops.forEach((loop) => loop.kill("SIGKILL")) };
}
