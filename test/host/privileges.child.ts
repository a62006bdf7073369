/**
 * A process that drops its privileges. It writes the result to standard output, as one line of JSON, and waits for its
 * standard input to end. Argument: the user to become.
 */
import { spawnSync } from "node:child_process";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import process from "node:process";
import { Worker } from "node:worker_threads";
import { loadLibc } from "../../ffi/libc.ts";
import { createListener } from "../../src/receivers/vsock/create-listener.ts";
import { DescriptorBudget } from "../../src/receivers/vsock/descriptor-budget.ts";
import { openPrivileges } from "../../src/host/privileges.ts";
import { SECCOMP_ARCHITECTURES } from "../../src/host/seccomp.ts";
import { attempt } from "./support/attempt.ts";

const WORKER = `const { parentPort } = require("node:worker_threads");
parentPort.on("message", (number) => parentPort.postMessage(number * 2));`;

async function doubled(worker: Worker): Promise<unknown> {
  worker.postMessage(21);
  const [answer] = await once(worker, "message");
  return answer;
}

async function connects(): Promise<boolean> {
  const server = createServer((socket) => socket.end("x"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") return false;
  const response = await fetch(`http://127.0.0.1:${address.port}`).catch(() => "answered");
  server.close();
  return response === "answered";
}

/** The result of listening in a directory, and the files in it during that and afterwards. */
async function listening(directory: string, group?: string): Promise<string[]> {
  const settings = {
    kind: "hybrid",
    socketPath: `${directory}/own.sock`,
    port: 1,
    mode: 0o600,
  } as const;
  const listener = createListener([group === undefined ? settings : { ...settings, group }], {
    budget: new DescriptorBudget(64, () => {}),
    onProblem: () => {},
  });
  try {
    await listener.listen(() => ({ data() {}, end() {} }));
  } catch (error) {
    return [(error as Error).message, ...readdirSync(directory).sort()];
  }
  const during = readdirSync(directory);
  await listener.stopAccepting();
  return [...during, ...readdirSync(directory)];
}

const [, , user = "nobody", directory = "/nonexistent"] = process.argv;
const libc = await loadLibc();
const privileges = await openPrivileges(user);
const early = new Worker(WORKER, { eval: true });
await doubled(early);
const socketPath = `${directory}/clh.sock`;
const rootOnly = createListener(
  [{ kind: "hybrid", socketPath, port: 1, mode: 0o600 }],
  { budget: new DescriptorBudget(64, () => {}), onProblem: (message) => problems.push(message) },
);
const problems: string[] = [];
const canListen = existsSync(directory);
if (canListen) await rootOnly.listen(() => ({ data() {}, end() {} }));
libc.setgroups([0, 1, 2]);
const before = process.getuid?.();

privileges.drop();

const denied = SECCOMP_ARCHITECTURES[process.arch]?.denied ?? {};
const call = (name: string) => attempt(() => libc.syscall(name, denied[name] ?? -1, 0n, 0n, 0n));
const late = new Worker(WORKER, { eval: true });
const result = {
  pid: process.pid,
  before,
  owner: privileges.owner,
  uid: process.getuid?.(),
  gid: process.getgid?.(),
  directory: process.cwd(),
  setuid: attempt(() => libc.setresuid(0, 0, 0)),
  setgid: attempt(() => libc.setresgid(0, 0, 0)),
  setgroups: attempt(() => libc.setgroups([0])),
  write: attempt(() => writeFileSync("/etc/kata-privileges-test", "")),
  ranProgram: spawnSync("/bin/true").status === 0,
  // The arguments are null pointers, because the filter denies the calls before the kernel looks at them.
  execve: call("execve"),
  unshare: call("unshare"),
  ptrace: call("ptrace"),
  mount: call("mount"),
  mkdir: attempt(() => mkdirSync("/kata-privileges-test")),
  workers: [await doubled(early), await doubled(late)],
  address: (await lookup("localhost")).address,
  connects: await connects(),
  inRoots: canListen && await listening(directory),
  inOwn: canListen && await listening(`${directory}/own`),
  rootsGroup: canListen && await listening(`${directory}/own`, "root"),
};
if (canListen) {
  await rootOnly.stopAccepting();
  rootOnly.cleanUp();
}
process.stdout.write(`${JSON.stringify({ ...result, problems })}\n`);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
