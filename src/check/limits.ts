import type { Settings } from "../pipeline/settings.ts";
import { openFileLimit } from "../receivers/vsock/descriptor-budget.ts";
import { type AreaFinding, note, ok, problem, unknown, warning } from "./finding.ts";
import type { HostFiles } from "./host-files.ts";

const MIB = 1024 ** 2;
/** What the process takes beside its queue and guests' frames, bytes; docs/performance.md has the measurements. */
const BASE_MEMORY = 219 * MIB;
/** One instance for the process, and one watch for each directory of sandboxes and each sandbox. */
const LEAST_INOTIFY = { max_user_instances: 8, max_user_watches: 4096 } as const;

/** Open files, inotify, memory, and memory that may be executed, which compiled JavaScript needs. */
export function checkLimits(settings: Settings, files: HostFiles): AreaFinding[] {
  return [openFiles(settings, files), ...inotify(files), memory(settings, files), executableMemory(files)];
}

function openFiles({ limits: { maxGuests } }: Settings, files: HostFiles): AreaFinding {
  const text = files.text("/proc/self/limits");
  if (text.kind !== "seen") return unknown("open files", "/proc/self/limits cannot be read");
  const limit = openFileLimit(text.content);
  if (limit >= maxGuests) return ok("open files", `${limit} for --max-guests ${maxGuests}`);
  return warning(
    "open files",
    `${limit} here, which is less than --max-guests ${maxGuests}`,
    "ulimit -n 16384, if it is started by hand; the systemd unit sets LimitNOFILE= itself",
  );
}

function inotify(files: HostFiles): AreaFinding[] {
  return Object.entries(LEAST_INOTIFY).map(([name, least]) => {
    const path = `/proc/sys/fs/inotify/${name}`;
    const value = Number(files.value(path) ?? NaN);
    if (Number.isNaN(value)) return unknown(`inotify ${name}`, `${path} cannot be read`);
    if (value >= least) return ok(`inotify ${name}`, String(value));
    return warning(
      `inotify ${name}`,
      `${value}: new sandboxes' directories may not be seen`,
      `sysctl fs.inotify.${name}=${least}`,
    );
  });
}

function memory({ queue, limits }: Settings, files: HostFiles): AreaFinding {
  const needed = BASE_MEMORY + queue.maxBytes + limits.maxTotalGuestBytes;
  const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(files.value("/proc/meminfo") ?? "")?.[1];
  if (kilobytes === undefined) return unknown("memory", "/proc/meminfo cannot be read");
  const candidates = [Number(kilobytes) * 1024, controlGroupLimit(files)].filter((each) => each !== undefined);
  const available = Math.min(...candidates);
  const found = `${Math.floor(available / MIB)} MiB for at most ${Math.ceil(needed / MIB)} MiB`;
  if (available >= needed) return ok("memory", found);
  return warning("memory", found, "lower --queue-bytes or --max-total-guest-bytes, or give it more memory");
}

/** The limit of this process's control group, bytes; undefined if there is none (cgroups(7), version 2 alone). */
function controlGroupLimit(files: HostFiles): number | undefined {
  const group = /^0::(\/.*)$/m.exec(files.value("/proc/self/cgroup") ?? "")?.[1];
  if (group === undefined || group.includes("..")) return undefined;
  const limit = Number(files.value(`/sys/fs/cgroup${group}/memory.max`) ?? NaN);
  return Number.isNaN(limit) ? undefined : limit;
}

function executableMemory(files: HostFiles): AreaFinding {
  const item = "executable memory";
  const denied = files.value("/sys/fs/selinux/booleans/deny_execmem");
  if (denied?.startsWith("1") === true) {
    return problem(item, "SELinux forbids it (deny_execmem)", "setsebool -P deny_execmem off");
  }
  const maps = files.text("/proc/self/maps");
  if (maps.kind !== "seen") return unknown(item, "/proc/self/maps cannot be read");
  // Compiled code is the only executable memory without a file or a name behind it; proc_pid_maps(5).
  return /^\S+ [r-][w-]xp \S+ \S+ 0\s*$/m.test(maps.content)
    ? ok(item, "allowed: JavaScript is compiled")
    : note(item, "this process has none: JavaScript is interpreted, which is slower");
}
