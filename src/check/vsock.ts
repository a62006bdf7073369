import { errnoName } from "../../ffi/errors.ts";
import { type AreaFinding, note, ok, problem, unknown, warning } from "./finding.ts";
import type { HostFiles } from "./host-files.ts";

/** Tries to open an AF_VSOCK socket and to bind it to a port; throws what the kernel says. Nothing stays open. */
export type TryVsock = (port: number) => void;

const LOAD_MODULE = "modprobe vhost_vsock, and for every boot: echo vhost_vsock > /etc/modules-load.d/vhost_vsock.conf";

/**
 * AF_VSOCK's modules and devices, which QEMU's guests need. Other hypervisors use UNIX sockets.
 *
 * @param hypervisors those that Kata is configured for; none: nobody knows.
 */
export function checkVsock(
  files: HostFiles,
  port: number,
  tryVsock: TryVsock,
  hypervisors: ReadonlySet<string>,
): AreaFinding[] {
  const findings = [kvm(files), hostDevice(files), family(port, tryVsock), namespace(files)].flat();
  if (hypervisors.size === 0 || hypervisors.has("qemu")) return findings;
  const without = `Kata is configured for ${[...hypervisors].join(", ")}, which does without AF_VSOCK`;
  return findings.map((each) => each.state === "problem" ? note(each.item, `${each.found}; ${without}`) : each);
}

function kvm(files: HostFiles): AreaFinding {
  const device = files.status("/dev/kvm");
  if (device.kind === "seen") return ok("/dev/kvm", "there: virtual machines can run here");
  return warning(
    "/dev/kvm",
    device.kind === "hidden" ? device.reason : "missing: no sandbox can start on this machine",
    "turn virtualisation on in the firmware, or nested virtualisation in the hypervisor below",
  );
}

function hostDevice(files: HostFiles): AreaFinding {
  const device = files.status("/dev/vhost-vsock");
  if (device.kind === "seen" && device.content.isCharacterDevice) {
    return ok("/dev/vhost-vsock", "there: QEMU's guests can reach this host");
  }
  if (device.kind === "hidden") return unknown("/dev/vhost-vsock", device.reason, "run check as root");
  const isLoaded = files.exists("/sys/module/vhost_vsock");
  return problem(
    "/dev/vhost-vsock",
    isLoaded ? "missing although the module vhost_vsock is loaded" : `missing: ${moduleState(files)}`,
    isLoaded ? "make it visible here (container runtimes hide devices)" : LOAD_MODULE,
  );
}

/** Whether the module could be loaded. */
function moduleState(files: HostFiles): string {
  const release = files.value("/proc/sys/kernel/osrelease");
  const list = release === undefined ? undefined : files.text(`/lib/modules/${release}/modules.dep`);
  if (list?.kind !== "seen") return "the module vhost_vsock is not loaded";
  return /\/vhost[-_]vsock\.ko/.test(list.content)
    ? "the module vhost_vsock is not loaded"
    : `this kernel (${release}) has no module vhost_vsock, so QEMU's guests cannot reach this host`;
}

function family(port: number, tryVsock: TryVsock): AreaFinding {
  const item = `vsock port ${port}`;
  try {
    tryVsock(port);
    return ok(item, "free");
  } catch (error) {
    switch (errnoName(error)) {
      case "EADDRINUSE":
        return note(item, "taken, perhaps by a forwarder that runs already (see processes)");
      case "EAFNOSUPPORT":
        return problem(item, "this kernel has no AF_VSOCK, or a systemd unit forbids it", LOAD_MODULE);
      case "EPERM":
        return problem(
          item,
          "a seccomp profile around this process forbids AF_VSOCK",
          "allow it there, as deploy/kubernetes/base/seccomp.json does",
        );
      case "EACCES":
        return unknown(item, "a port below 1024 is for root", "run check as root");
      default:
        return unknown(item, error instanceof Error ? error.message : String(error));
    }
  }
}

/** From Linux 7.0 on a network namespace may have a vsock of its own. */
function namespace(files: HostFiles): AreaFinding[] {
  const mode = files.value("/proc/sys/net/vsock/ns_mode");
  if (mode !== "local") return [];
  return [problem(
    "/proc/sys/net/vsock/ns_mode",
    "local: this network namespace has a vsock of its own, which the host's guests do not reach",
    "run in the host's network namespace (hostNetwork: true)",
  )];
}
