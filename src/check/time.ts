import { type AreaFinding, note, ok, unknown, warning } from "./finding.ts";
import type { HostFiles } from "./host-files.ts";
import { installations } from "./kata-files.ts";
import type { HostProcess } from "./processes.ts";

const CLOCK_SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/** The programs that keep a host's clock right. */
const TIME_DAEMONS: ReadonlySet<string> = new Set(["chronyd", "ntpd", "openntpd", "systemd-timesyncd", "phc2sys"]);
/** Made by systemd-timesyncd once the clock has been set. */
const SYNCHRONISED = "/run/systemd/timesync/synchronized";

/**
 * Whether guests can have the host's time: guests' spans carry the guests' own times. Kata's guests read the host's
 * clock from `/dev/ptp0`, which is `ptp_kvm`.
 */
export function checkTime(
  files: HostFiles,
  processes: readonly HostProcess[],
  architecture: string,
): AreaFinding[] {
  return [hostClock(files, processes), clockSource(files, architecture), ...guestKernels(files)];
}

function hostClock(files: HostFiles, processes: readonly HostProcess[]): AreaFinding {
  if (files.exists(SYNCHRONISED)) return ok("the host's clock", "set by systemd-timesyncd");
  const daemon = processes.find(({ name }) => TIME_DAEMONS.has(name));
  if (daemon !== undefined) return ok("the host's clock", `kept by ${daemon.name} (process ${daemon.pid})`);
  return note(
    "the host's clock",
    "no time daemon is seen here",
    "install chrony, if nothing else sets the clock: nodes' spans are compared by their times",
  );
}

/** On x86 the hypercall behind `ptp_kvm` works only while the host's clock source is the TSC (KVM_HC_CLOCK_PAIRING). */
function clockSource(files: HostFiles, architecture: string): AreaFinding {
  const source = files.value(CLOCK_SOURCE);
  if (source === undefined) return unknown("clock source", `${CLOCK_SOURCE} cannot be read`);
  if (architecture !== "x64" || source === "tsc") return ok("clock source", `${source}: ptp_kvm works in guests`);
  return warning(
    "clock source",
    `${source}: ptp_kvm does not work in guests, whose clocks then drift`,
    "run chrony with a network source in the guest, or boot the host with tsc=reliable if its TSC is",
  );
}

/** Kata's release has the configuration of each guest kernel beside it. */
function guestKernels(files: HostFiles): AreaFinding[] {
  const directories = [
    "/usr/share/kata-containers",
    ...installations(files).map((at) => `${at}/share/kata-containers`),
  ];
  const found = directories.flatMap((directory) => {
    const names = files.names(directory);
    return names.kind === "seen"
      ? names.content.filter((name) => name.startsWith("config-")).map((name) => `${directory}/${name}`)
      : [];
  });
  return found.map((path) => {
    const text = files.text(path);
    if (text.kind !== "seen") return unknown(path, text.kind === "hidden" ? text.reason : "gone");
    return /^CONFIG_PTP_1588_CLOCK_KVM=[ym]$/m.test(text.content)
      ? ok(path, "the guest's kernel has ptp_kvm")
      : warning(path, "the guest's kernel has no ptp_kvm", "use a guest kernel with CONFIG_PTP_1588_CLOCK_KVM=y");
  });
}
