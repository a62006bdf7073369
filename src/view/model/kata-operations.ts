import type { Side } from "./span-table.ts";

/**
 * What the names of Kata's spans mean, for each runtime. All that the viewer knows about particular operations is here.
 *
 * Sources: the Go runtime's `katatrace` calls in src/runtime/virtcontainers, the Rust runtime's `#[instrument]`
 * functions in src/runtime-rs, and the agent's in src/agent/src/rpc.rs, of Kata 2.2 to 4.1.
 */

/** The phases of a sandbox's start, in order. */
export const PHASES = ["prepare", "vmm", "guest", "sandbox", "create", "start"] as const;
export type Phase = (typeof PHASES)[number];

/** What to call a phase on a page. */
export const PHASE_NAMES: Readonly<Record<Phase, string>> = {
  prepare: "Prepare",
  vmm: "VMM start",
  guest: "Guest kernel + agent",
  sandbox: "Sandbox",
  create: "Create",
  start: "Start",
};

/** The span whose begin (or end) begins a phase. */
export interface PhaseMark {
  readonly phase: Phase;
  readonly side: Side;
  readonly names: readonly string[];
  readonly edge: "start" | "end";
}

/**
 * Where phases begin. For each phase the marks are tried in this order and the first span (by time) that fits the first
 * mark that fits any is taken, so that the host's word comes before the agent's.
 *
 * The first phase begins with the first span of all and needs no mark.
 */
export const PHASE_MARKS: readonly PhaseMark[] = [
  // Go: startVM around hypervisor's StartVM; Rust: start_vm.
  { phase: "vmm", side: "runtime", names: ["startVM", "StartVM", "start_vm"], edge: "start" },
  // Go: the VMM runs, and the shim connects to the agent. Rust: the VMM's own start has ended.
  { phase: "guest", side: "runtime", names: ["connect"], edge: "start" },
  { phase: "guest", side: "runtime", names: ["StartVM", "start_vm"], edge: "end" },
  // The first request to the agent: it answers, so the guest is up.
  { phase: "sandbox", side: "runtime", names: ["ttrpc.CreateSandbox", "ttrpc.UpdateInterface"], edge: "start" },
  { phase: "sandbox", side: "agent", names: ["get_guest_details", "create_sandbox"], edge: "start" },
  { phase: "sandbox", side: "runtime", names: ["create_sandbox"], edge: "start" },
  { phase: "create", side: "runtime", names: ["ttrpc.CreateContainer"], edge: "start" },
  { phase: "create", side: "agent", names: ["create_container"], edge: "start" },
  { phase: "create", side: "runtime", names: ["create_container"], edge: "start" },
  { phase: "start", side: "runtime", names: ["ttrpc.StartContainer"], edge: "start" },
  { phase: "start", side: "agent", names: ["start_container"], edge: "start" },
  { phase: "start", side: "runtime", names: ["start_container"], edge: "start" },
];

/** The spans whose end ends the start: what is tried first comes first. */
export const START_ENDS: readonly { readonly side: Side; readonly names: readonly string[] }[] = [
  { side: "agent", names: ["start_container"] },
  { side: "runtime", names: ["ttrpc.StartContainer", "start_container"] },
];

/**
 * Spans that last as long as the sandbox, or wait for what a container does: they hold no start up.
 * `root-span` and `start_sandbox` are the agent's own lifetime, `rootSpan` is the Go shim's.
 */
const BACKGROUND: Readonly<Record<Side, ReadonlySet<string>>> = {
  agent: new Set(["root-span", "start_sandbox", "watch_uevents", "wait_process", "do_wait_process"]),
  runtime: new Set(["rootSpan", "root-span", "Wait", "wait_process", "ttrpc.WaitProcess"]),
  containerd: new Set(),
  host: new Set(),
};

/** What `--join-traces` makes: a sandbox's root, and a span in place of each that never came. */
const MADE_UP: ReadonlySet<string> = new Set(["sandbox", "missing span"]);

/** Whether a span has been made up by the forwarder, so that it says nothing about a program. */
export function isMadeUp(name: string): boolean {
  return MADE_UP.has(name);
}

/** Whether a span lasts beside the work, and is never what a start waits for. */
export function isBackground(side: Side, name: string): boolean {
  return BACKGROUND[side].has(name) || isMadeUp(name);
}

/** Spans in which the host only waits for the guest's kernel and agent. */
const WAITS_FOR_GUEST: ReadonlySet<string> = new Set(["connect", "waitVM", "check"]);

/** Whether a span of the host is the wait for the guest's boot. */
export function waitsForGuest(side: Side, name: string): boolean {
  return side === "runtime" && WAITS_FOR_GUEST.has(name);
}

/** The agent's span for a request that the Go runtime's span `ttrpc.Method` makes: `method` in snake case. */
export function agentOperation(name: string): string | undefined {
  const method = /^ttrpc\.([A-Z][A-Za-z]*)$/.exec(name)?.[1];
  return method?.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toLowerCase();
}

/** The spans that last as long as their sandbox and come when it ends. runtime-rs never exports its own. */
export function isRoot(side: Side, name: string): boolean {
  return (side === "agent" && name === "root-span") || (side === "runtime" && name === "rootSpan");
}

/** Whether only the Go runtime has a span of this name: its root, and those of its requests to the agent. */
export function isOfGoRuntime(name: string): boolean {
  return name === "rootSpan" || name.startsWith("ttrpc.");
}

/** Spans of the runtimes that only one hypervisor has. */
const VMM_OPERATIONS: ReadonlyMap<string, string> = new Map([
  ["LaunchQemu", "qemu"],
  ["setupVirtiofsDaemon", "qemu"],
  ["bootVM", "clh"],
  ["fcInit", "firecracker"],
  ["fcSetVMRootfs", "firecracker"],
  ["dragonball-root", "dragonball"],
]);

/** The sandbox's hypervisor, if a span tells. Of those that Kata supports only QEMU's guests connect over AF_VSOCK. */
export function vmmOf(names: readonly string[], sides: readonly Side[], hasCid: boolean): string | undefined {
  for (const [row, name] of names.entries()) {
    const vmm = sides[row] === "runtime" ? VMM_OPERATIONS.get(name) : undefined;
    if (vmm !== undefined) return vmm;
  }
  return hasCid ? "qemu" : undefined;
}
