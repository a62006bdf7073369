import type { SocketTemplate } from "../pipeline/settings.ts";
import { path, quoted, UsageError } from "./values.ts";

/** The longest path of a UNIX socket: `sun_path` has 108 bytes, including a terminating zero (unix(7)). */
export const LONGEST_SOCKET_PATH = 107;

/** What stands for a sandbox's ID in a template, as `kata-runtime env` prints it. */
const ID = "{ID}";
/** What stands for the number of the user that a rootless VMM runs as. */
const UID = "{UID}";

/** One socket, or with `{ID}` in its path the sockets of all sandboxes. */
export type SocketPath = SocketTemplate | { readonly kind: "path"; readonly path: string };

/**
 * The path of a VMM's socket, made absolute. `{ID}` may stand for one directory in it, and before that `{UID}` for
 * another one.
 */
export function socketPath(value: string): SocketPath {
  const absolute = path(value);
  if (!absolute.includes(ID) && !absolute.includes(UID)) return { kind: "path", path: absolute };
  const names = absolute.slice(1).split("/");
  const at = names.indexOf(ID);
  const name = names.at(-1) as string;
  if (absolute.split(ID).length !== 2 || at < 0 || at === names.length - 1) {
    throw new UsageError(
      `${quoted(value)}: ${ID} must stand for one whole directory above the socket, ` +
        `as in /run/vc/vm/${ID}/clh.sock`,
    );
  }
  const user = names.indexOf(UID);
  const isPerUser = absolute.includes(UID);
  if (isPerUser && (absolute.split(UID).length > 2 || user < 1 || user > at)) {
    throw new UsageError(
      `${quoted(value)}: ${UID} must stand for one whole directory above ${ID}, and not for the first one, ` +
        `as in /run/user/${UID}/run/vc/vm/${ID}/clh.sock`,
    );
  }
  return {
    kind: "template",
    directory: `/${names.slice(0, at).join("/")}`,
    ...(isPerUser && { perUser: true }),
    between: names.slice(at + 1, -1),
    name,
  };
}

/**
 * Where Kata's hypervisors with hybrid vsock have their sockets.
 *
 * - Go runtime, as `kata-runtime env` prints them: Cloud Hypervisor and Firecracker
 *   (https://github.com/kata-containers/kata-containers/blob/main/src/tools/trace-forwarder/README.md);
 * - Rust runtime: Dragonball and Firecracker, jailed Firecracker, Cloud Hypervisor, and since 4.1 OpenVMM
 *   (src/runtime-rs/crates/hypervisor/src, `get_hvsock_path` and `get_vsock_path`);
 * - rootless VMMs of the Go runtime (`rootless = true`): below each VMM user's own XDG_RUNTIME_DIR
 *   (src/runtime/virtcontainers, `SetHypervisorConfig` and `rootless`).
 */
export const KATA_SOCKET_PATHS: readonly string[] = [
  "/run/vc/vm/{ID}/clh.sock",
  "/run/vc/firecracker/{ID}/root/kata.hvsock",
  "/run/kata/{ID}/root/kata.hvsock",
  "/run/kata/firecracker/{ID}/root/kata.hvsock",
  "/run/kata/{ID}/ch-vm.sock",
  "/run/kata/{ID}/vsock.sock",
  "/run/user/{UID}/run/vc/vm/{ID}/clh.sock",
];
