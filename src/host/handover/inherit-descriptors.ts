import type { Libc } from "../../../ffi/libc.ts";

/** sd_listen_fds(3): the first descriptor that a service manager passes on. */
const FIRST_DESCRIPTOR = 3;
/** fcntl(2) */
const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** A descriptor that an earlier process of this service has left, with its name. */
export interface InheritedDescriptor {
  readonly name: string;
  readonly descriptor: number;
}

/** The variables with which a service manager passes on descriptors. */
type ListenVariables = Record<string, string | undefined>;

/**
 * The descriptors that the service manager has stored for this process, made close-on-exec. To be called once, before
 * anything else uses them. It removes the variables.
 *
 * Specification: sd_listen_fds(3), https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
 *
 * @param pid this process's ID. The descriptors must be meant for it.
 */
export function inheritDescriptors(libc: Libc, environment: ListenVariables, pid: number): InheritedDescriptor[] {
  const { LISTEN_PID: forPid, LISTEN_FDS: count = "", LISTEN_FDNAMES: names = "" } = environment;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"]) delete environment[name];
  // The variables may have been inherited from another service.
  if (forPid === undefined || Number(forPid) !== pid || !/^\d{1,9}$/.test(count)) return [];
  const named = names === "" ? [] : names.split(":");
  return Array.from({ length: Number(count) }, (_, index) => {
    const descriptor = FIRST_DESCRIPTOR + index;
    libc.fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    return { name: named[index] ?? "unknown", descriptor };
  });
}
