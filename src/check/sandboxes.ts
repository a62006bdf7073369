import { printable } from "../base/log.ts";
import { sandboxOnCommandLine } from "../receivers/peers/shim-process.ts";
import { type AreaFinding, note, ok, unknown, warning } from "./finding.ts";
import type { HostFiles } from "./host-files.ts";
import { hidesProcesses, type HostProcess } from "./processes.ts";

/** The shims of both runtimes. */
const SHIM = /^containerd-shim-kata/;
/** The VMMs that Kata starts as processes; Dragonball runs within the Rust runtime's shim. */
const VMM = /^(?:qemu-system-|qemu-kvm$|qemu-lite|cloud-hypervisor|clh$|firecracker|jailer|stratovirt)/;
/** `-name sandbox-ID,debug-threads=on`, as both runtimes start QEMU. */
const QEMU_NAME = /^sandbox-([a-zA-Z0-9][a-zA-Z0-9_.-]*)/;
/** `agent.trace` or `agent.trace=true` (also the modes of old releases) among the guest kernel's parameters. */
const AGENT_TRACE = /(?:^|\s)agent\.trace(?:=(?!false\b|0\b)\S+)?(?=\s|$)/;
/** The most sandboxes that have a row of their own. */
const MOST_ROWS = 20;

/** One sandbox, as its processes show it. */
interface Sandbox {
  readonly id: string;
  readonly shim: HostProcess | undefined;
  readonly vmm: HostProcess | undefined;
}

/** The sandboxes that run now, and whether their guests trace. */
export function checkSandboxes(files: HostFiles, processes: readonly HostProcess[]): AreaFinding[] {
  const findings: AreaFinding[] = [];
  if (hidesProcesses(files)) {
    findings.push(unknown("/proc", "mounted with hidepid: other users' processes are hidden", "run check as root"));
  }
  const sandboxes = findSandboxes(processes);
  if (sandboxes.length === 0) {
    findings.push(note("sandboxes", "none runs now", "start a pod with a Kata runtime class, once the forwarder runs"));
    return findings;
  }
  findings.push(note("sandboxes", `${sandboxes.length} run${sandboxes.length === 1 ? "s" : ""} now`));
  for (const sandbox of sandboxes.slice(0, MOST_ROWS)) findings.push(describe(sandbox));
  if (sandboxes.length > MOST_ROWS) findings.push(note("…", `${sandboxes.length - MOST_ROWS} more are not shown`));
  return findings;
}

function findSandboxes(processes: readonly HostProcess[]): readonly Sandbox[] {
  const found = new Map<string, Sandbox>();
  const add = (id: string, part: Partial<Sandbox>): void => {
    const before = found.get(id) ?? { id, shim: undefined, vmm: undefined };
    found.set(id, { ...before, ...part });
  };
  for (const process of processes) {
    if (SHIM.test(process.name)) {
      const id = sandboxOnCommandLine(process.arguments.join("\0"));
      // `containerd-shim-kata-v2 … delete` and the like end at once.
      if (id !== undefined) add(id, { shim: process });
    }
  }
  for (const process of processes) {
    if (!VMM.test(process.name)) continue;
    const id = sandboxOf(process, [...found.keys()]);
    if (id !== undefined) add(id, { vmm: process });
  }
  return [...found.values()].sort((left, right) => left.id < right.id ? -1 : 1);
}

function sandboxOf(process: HostProcess, known: readonly string[]): string | undefined {
  const words = process.arguments;
  const name = words.find((_, at) => words[at - 1] === "-name" || words[at - 1] === "--name") ?? "";
  const own = QEMU_NAME.exec(name)?.[1];
  if (own !== undefined) return own;
  // Cloud Hypervisor and Firecracker have the sandbox's directory in a path, or its ID (`--id`).
  return known.find((id) => words.some((word) => word === id || word.includes(`/${id}/`)));
}

function describe({ id, shim, vmm }: Sandbox): AreaFinding {
  const item = printable(id, 64);
  if (vmm === undefined) {
    return unknown(item, "its VMM is not seen: it runs within the shim (Dragonball), or as another user");
  }
  if (vmm.arguments.length === 0) {
    return unknown(item, `${printable(vmm.name)}: its command line is hidden`, "run check as root");
  }
  const parameters = vmm.arguments.find((_, at) => vmm.arguments[at - 1] === "-append");
  if (parameters === undefined) {
    return unknown(item, `${printable(vmm.name)}, whose command line does not show the guest kernel's parameters`);
  }
  if (AGENT_TRACE.test(parameters)) {
    return shim === undefined
      ? warning(item, `${printable(vmm.name)}, agent.trace, but no shim`, "it is left over: its pod is gone")
      : ok(item, `${printable(vmm.name)}, and its agent traces (agent.trace)`);
  }
  return warning(
    item,
    `${printable(vmm.name)}, and its agent does not trace (no agent.trace)`,
    "restart the pod after tracing has been turned on",
  );
}
