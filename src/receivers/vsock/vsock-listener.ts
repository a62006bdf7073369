import { existsSync, readFileSync } from "node:fs";
import { errnoName } from "../../../ffi/errors.ts";
import { GuestServer, type ListenerOptions } from "./guest-server.ts";
import { vsockListenerName } from "./descriptor-names.ts";
import { type VsockAddress, vsockSource } from "./identity.ts";
import { type GuestConnection, type GuestReceiver, type Listener, ListenError } from "./listener.ts";
import { type FinderOptions, SandboxFinder } from "./sandbox-finder.ts";
import { CID_ANY, loadStreamServers } from "./stream-server.ts";

/** VMADDR_CID_HOST, vsock(7): no guest has a CID up to here. */
const CID_HOST = 2;

/** Where to listen: `any` is every CID of this machine. */
export interface VsockSettings {
  readonly cid: number | "any";
  readonly port: number;
}

/** Where the kernel shows that it can connect VMMs' guests. */
export interface HostPlaces {
  readonly device: string;
  /** The miscellaneous devices that drivers have registered, which containers see too; proc(5). */
  readonly registered: string;
}

const HOST_PLACES: HostPlaces = { device: "/dev/vhost-vsock", registered: "/proc/misc" };

/** Whether this host has what connects VMMs' guests over AF_VSOCK. The device may be hidden from a container. */
function hasVhost({ device, registered }: HostPlaces = HOST_PLACES): boolean {
  if (existsSync(device)) return true;
  try {
    return /\bvhost-vsock$/m.test(readFileSync(registered, "utf8"));
  } catch {
    // Nothing is known then, and a warning might be wrong.
    return true;
  }
}

/** For people: `any` instead of a large number. */
function shownAddress({ cid, port }: VsockAddress): string {
  return `vsock:${cid === CID_ANY ? "any" : cid}:${port}`;
}

/** Guests over AF_VSOCK (QEMU and others with vhost-vsock); vsock(7). */
export class VsockListener implements Listener {
  readonly address: string;
  readonly #local: VsockAddress;
  readonly #options: ListenerOptions & { readonly host?: HostPlaces };
  readonly #guests: GuestServer;
  readonly #finder: SandboxFinder;

  constructor(
    settings: VsockSettings,
    options: ListenerOptions & { readonly finder?: FinderOptions; readonly host?: HostPlaces },
  ) {
    this.#local = { cid: settings.cid === "any" ? CID_ANY : settings.cid, port: settings.port };
    this.address = shownAddress(this.#local);
    this.#options = options;
    this.#finder = new SandboxFinder(options.onProblem, options.finder);
    this.#guests = new GuestServer(options, (peer) => {
      // Without the host's own word on who it is, a guest could pass for another.
      if (peer === undefined) throw new Error("the peer's CID is unknown");
      if (peer.cid <= CID_HOST) return vsockSource(peer);
      return this.#finder.find(peer.cid).then((sandbox) => vsockSource(peer, sandbox));
    });
  }

  async listen(accept: (connection: GuestConnection) => GuestReceiver): Promise<void> {
    const servers = await loadStreamServers();
    const handlers = this.#guests.handlers(accept);
    const name = vsockListenerName(this.#local);
    try {
      const left = this.#guests.resume(name, servers, handlers);
      this.#guests.start(left ?? await servers.vsock(this.#local, handlers), name);
    } catch (error) {
      throw vsockListenError(this.#local, error);
    }
    if (!hasVhost(this.#options.host)) {
      this.#options.onProblem(
        "the module vhost_vsock is not loaded, so no VMM with AF_VSOCK (QEMU) can start a guest that reaches this " +
          "host: modprobe vhost_vsock",
      );
    }
  }

  stopAccepting(): Promise<void> {
    this.cleanUp();
    return this.#guests.close();
  }

  handOver(): void {
    this.#guests.handOver();
    this.cleanUp();
  }

  /** AF_VSOCK leaves nothing behind, but guests that wait for their sandbox to be found wait no longer. */
  cleanUp(): void {
    this.#finder.stop();
  }
}

/** What the kernel says if it has no AF_VSOCK, or no such CID (vsock(7), bind(2)). */
const ABSENT: ReadonlySet<string> = new Set(["EAFNOSUPPORT", "EADDRNOTAVAIL"]);

/** What to do about a socket, bind or listen that failed. */
export function vsockListenError(local: VsockAddress, cause: unknown): ListenError {
  const where = `cannot listen at ${shownAddress(local)}`;
  const absent = ABSENT.has(errnoName(cause) ?? "");
  return new ListenError(`${where}: ${vsockAdvice(local, cause)}`, { cause, absent });
}

function vsockAdvice(local: VsockAddress, cause: unknown): string {
  switch (errnoName(cause)) {
    case "EAFNOSUPPORT":
      return "this kernel has no AF_VSOCK (is there a /dev/vsock?): load the host's module with " +
        "`modprobe vhost_vsock`; a systemd unit must also allow it (RestrictAddressFamilies=)";
    case "EPERM":
      // What the default seccomp profiles of Docker and containerd answer; systemd's RestrictAddressFamilies= says
      // EAFNOSUPPORT.
      return "a seccomp profile around this process forbids AF_VSOCK: allow it there " +
        "(deploy/kubernetes/base/seccomp.json does)";
    case "EADDRNOTAVAIL":
      return `this machine has no CID ${local.cid}: use --vsock-cid any, or load the host's module with \`modprobe ` +
        `vhost_vsock\``;
    case "EADDRINUSE":
      return "another process listens there, perhaps another forwarder: stop it or use another --vsock-port";
    case "EACCES":
      // vsock(7): ports below 1024 are privileged.
      return `port ${local.port} is for root (CAP_NET_BIND_SERVICE): run as root or use a --vsock-port above 1023`;
    default:
      return cause instanceof Error ? cause.message : String(cause);
  }
}
