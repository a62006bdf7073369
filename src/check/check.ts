import process from "node:process";
import { loadLibc } from "../../ffi/libc.ts";
import { SOCK_CLOEXEC, SOCK_STREAM } from "../../ffi/sockets.ts";
import type { Settings } from "../pipeline/settings.ts";
import { AF_VSOCK, vsockSockaddr } from "../receivers/vsock/sockaddr.ts";
import { CID_ANY } from "../receivers/vsock/stream-server.ts";
import { checkCollector } from "./collector.ts";
import { checkDisk } from "./disk.ts";
import { type AreaFinding, type Finding } from "./finding.ts";
import { HostFiles } from "./host-files.ts";
import { checkKata } from "./kata.ts";
import { askKataRuntime, findKataRuntime } from "./kata-runtime.ts";
import { checkLimits } from "./limits.ts";
import { checkPorts } from "./ports.ts";
import { listProcesses } from "./processes.ts";
import { checkRights } from "./rights.ts";
import { checkSandboxes } from "./sandboxes.ts";
import { jsonOf, tableOf } from "./table.ts";
import { checkTime } from "./time.ts";
import { checkVsock, type TryVsock } from "./vsock.ts";

/** The exit code if something has to be done. */
const EXIT_NOT_READY = 3;

/** What a check looks at, if it is not this machine as it is. */
export interface CheckOptions {
  /** Where the host's root directory is; another one than `/` is for tests. */
  readonly root?: string;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly tryVsock?: TryVsock;
}

/** Looks at this host, writes what is ready and what to do, and resolves with the exit code. Changes nothing. */
export async function runCheck(
  { settings, json }: { readonly settings: Settings; readonly json: boolean },
  write: (text: string) => void,
): Promise<number> {
  const findings = await check(settings);
  write(json ? jsonOf(findings) : tableOf(findings, process.stdout.columns));
  return findings.some(({ state }) => state === "problem") ? EXIT_NOT_READY : 0;
}

/** Everything that can be said of this host, by area. */
export async function check(settings: Settings, options: CheckOptions = {}): Promise<readonly Finding[]> {
  const { root = "/", environment = process.env } = options;
  const files = new HostFiles(root);
  const libc = await loadLibc();
  const program = root === "/" ? findKataRuntime(environment) : undefined;
  const runtime = program === undefined ? undefined : await askKataRuntime(program);
  const processes = listProcesses(files).filter(({ pid }) => pid !== process.pid);
  const kata = checkKata(files, runtime, { port: settings.jaeger?.listen.port }, environment["KATA_CONF_FILE"]);
  const areas: readonly (readonly [string, readonly AreaFinding[]])[] = [
    ["vsock", checkVsock(files, vsockPort(settings), options.tryVsock ?? bindVsock(libc), kata.hypervisors)],
    ["Kata Containers", kata.findings],
    ["Sandboxes", checkSandboxes(files, processes)],
    ["Rights", checkRights(settings, files, libc, processes)],
    ["Ports", checkPorts(settings, files)],
    ["Collector", await checkCollector(settings, files)],
    ["Disk", checkDisk(settings, files)],
    ["Time", checkTime(files, processes, process.arch)],
    ["Limits", checkLimits(settings, files)],
  ];
  return areas.flatMap(([area, findings]) => findings.map((finding) => ({ area, ...finding })));
}

function vsockPort({ listen: [first] }: Settings): number {
  return first.port;
}

/** Binds without listening, so that no guest can connect meanwhile. */
function bindVsock(libc: Awaited<ReturnType<typeof loadLibc>>): TryVsock {
  return (port) => {
    const socket = libc.socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    try {
      libc.bind(socket, vsockSockaddr({ cid: CID_ANY, port }));
    } finally {
      libc.close(socket);
    }
  };
}
