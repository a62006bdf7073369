import process from "node:process";
import { sendDescriptors } from "../../ffi/descriptor-passing.ts";
import { errnoName } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";
import { AF_UNIX, MAX_PATH_BYTES, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM } from "../../ffi/sockets.ts";
import type { Logger } from "../base/log.ts";

/**
 * Messages to the service manager (systemd, or anything with its protocol). Without one they do nothing.
 *
 * Specification: sd_notify(3), https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
 */
export interface ServiceManager {
  /** Guests can connect. Also starts the watchdog's pings, if the manager wants them. */
  ready(status: string): void;
  /** The line that `systemctl status` shows. */
  status(status: string): void;
  /** The stop has begun. Asks the manager for `timeoutMs` more than it allows for a stop. */
  stopping(status: string, timeoutMs: number): void;
  /**
   * How many descriptors the manager stores for this process, past its end (`FileDescriptorStoreMax=`). The next
   * process gets them, see `inheritDescriptors`.
   */
  readonly descriptorPlaces: number;
  /**
   * Makes the manager store a duplicate of a descriptor under a name, for which {@link isDescriptorName} must be true.
   * The descriptor must stay open until {@link removeDescriptor} or {@link flushed}.
   */
  storeDescriptor(name: string, descriptor: number): void;
  /** Makes the manager close the descriptor that it stores under a name. */
  removeDescriptor(name: string): void;
  /** Resolves with true once all messages are sent, or with false if that takes longer than `timeoutMs`. */
  flushed(timeoutMs: number): Promise<boolean>;
  /** Closes the socket. No more messages are sent. */
  close(): void;
}

/** Where `sun_path` begins in `struct sockaddr_un`; unix(7). */
const SUN_PATH_OFFSET = 2;

/** The variable for a line that people read. */
const STATUS = "STATUS=";

/**
 * How long to wait before a message is retried because the manager's queue was full, milliseconds: at first, and at
 * most. The queue may have only 10 places, and messages that wait here are lost if the process is killed.
 */
const RETRY_MS = 1;
const LONGEST_RETRY_MS = 100;
/** Extra time for what comes after the delivery at a stop, which is quick, milliseconds. */
const STOP_MARGIN_MS = 5000;

const SILENT: ServiceManager = {
  descriptorPlaces: 0,
  ready: () => {},
  status: () => {},
  stopping: () => {},
  storeDescriptor: () => {},
  removeDescriptor: () => {},
  flushed: () => Promise.resolve(true),
  close: () => {},
};

/** A name that systemd accepts (`fdname_is_valid`): printable ASCII without a colon, at most 255 bytes. */
const DESCRIPTOR_NAME = /^[ -9;-~]{1,255}$/;

/** Whether the manager accepts a name for a descriptor. */
export function isDescriptorName(name: string): boolean {
  return DESCRIPTOR_NAME.test(name);
}

/** The variables in which a service manager says how to reach it, and what it does for the process. */
type NotifyVariables = Readonly<Record<string, string | undefined>>;

/**
 * Connects to the service manager that `NOTIFY_SOCKET` names. To be called before privileges are dropped and before
 * chdir(2), because a connected socket needs no further permission. Loads nothing if the variable is not set. A manager
 * that cannot be reached is logged and ignored, as sd_notify(3) advises, because the variable may have been inherited
 * from another service.
 *
 * @param pid this process's ID. The watchdog must be meant for it.
 */
export async function connectServiceManager(
  environment: NotifyVariables,
  log: Logger,
  pid: number = process.pid,
): Promise<ServiceManager> {
  const name = environment["NOTIFY_SOCKET"];
  if (name === undefined || name === "") return SILENT;
  const cannot = (error: Error): ServiceManager => {
    log.warn("service manager cannot be reached: it gets no messages", {
      NOTIFY_SOCKET: name,
      error,
    });
    return SILENT;
  };
  const address = notifyAddress(name);
  if (address instanceof Error) return cannot(address);
  const { loadLibc } = await import("../../ffi/libc.ts");
  const libc = await loadLibc();
  const socket = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  try {
    libc.connect(socket, address);
  } catch (error) {
    libc.close(socket);
    return cannot(error as Error);
  }
  return new NotifySocket(libc, socket, log, watchdogMs(environment, pid), descriptorPlaces(environment));
}

/** systemd 254 and later set `FDSTORE`. For earlier versions the unit sets it. */
function descriptorPlaces({ FDSTORE: places }: NotifyVariables): number {
  return places !== undefined && /^\d{1,9}$/.test(places) ? Number(places) : 0;
}

/** The `struct sockaddr_un` of a path, or of an abstract name, in which `@` stands for the leading zero. */
function notifyAddress(name: string): Uint8Array | Error {
  const path = new TextEncoder().encode(name);
  const abstract = name.startsWith("@");
  if (!abstract && !name.startsWith("/")) return new Error("neither a path nor an abstract socket");
  if (path.length > MAX_PATH_BYTES) return new Error("longer than a socket's path may be");
  // An abstract name ends with the address, a path with a zero (unix(7)).
  const address = new Uint8Array(SUN_PATH_OFFSET + path.length + (abstract ? 0 : 1));
  address[0] = AF_UNIX;
  address.set(path, SUN_PATH_OFFSET);
  if (abstract) address[SUN_PATH_OFFSET] = 0;
  return address;
}

/** The ping interval, half of the manager's timeout as in sd_watchdog_enabled(3); undefined if it wants no pings. */
function watchdogMs(environment: NotifyVariables, pid: number): number | undefined {
  const forPid = environment["WATCHDOG_PID"];
  if (forPid !== undefined && forPid !== "" && Number(forPid) !== pid) return undefined;
  const microseconds = Number(environment["WATCHDOG_USEC"] ?? NaN);
  return microseconds > 0 ? microseconds / 1000 / 2 : undefined;
}

/** One message to the manager. */
interface Message {
  readonly text: string;
  /** The name of its descriptor. */
  readonly name?: string;
  /** The descriptor to send with it. */
  readonly descriptor?: number;
}

class NotifySocket implements ServiceManager {
  readonly descriptorPlaces: number;
  readonly #libc: Libc;
  readonly #log: Logger;
  readonly #watchdogMs: number | undefined;
  #socket: number | undefined;
  /** Messages that wait because the manager's queue is full, oldest first. At most one of them is a status. */
  #waiting: Message[] = [];
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retryMs = RETRY_MS;
  #watchdog: ReturnType<typeof setInterval> | undefined;

  constructor(
    libc: Libc,
    socket: number,
    log: Logger,
    watchdogMs: number | undefined,
    descriptorPlaces: number,
  ) {
    this.descriptorPlaces = descriptorPlaces;
    this.#libc = libc;
    this.#socket = socket;
    this.#log = log;
    this.#watchdogMs = watchdogMs;
  }

  ready(status: string): void {
    this.#tell(["READY=1", statusLine(status)]);
    if (this.#watchdogMs === undefined) return;
    this.#watchdog ??= setInterval(() => this.#ping(), this.#watchdogMs);
    this.#watchdog.unref();
  }

  status(status: string): void {
    // A status that still waits is out of date.
    this.#waiting = this.#waiting.filter(({ text }) => !text.startsWith(STATUS));
    this.#tell([statusLine(status)]);
  }

  stopping(status: string, timeoutMs: number): void {
    const microseconds = Math.ceil((timeoutMs + STOP_MARGIN_MS) * 1000);
    this.#tell(["STOPPING=1", statusLine(status), `EXTEND_TIMEOUT_USEC=${microseconds}`]);
  }

  storeDescriptor(name: string, descriptor: number): void {
    // FDPOLL=0, because the manager must not close a connection whose guest has left before all of it was read.
    this.#tell(["FDSTORE=1", `FDNAME=${name}`, "FDPOLL=0"], { name, descriptor });
  }

  removeDescriptor(name: string): void {
    const waiting = this.#waiting.length;
    this.#waiting = this.#waiting.filter((message) => message.name !== name);
    // A descriptor that was never sent need not be removed, and its number may be another file's by now.
    if (this.#waiting.length === waiting) this.#tell(["FDSTOREREMOVE=1", `FDNAME=${name}`], { name });
  }

  async flushed(timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (this.#waiting.length > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    return this.#waiting.length === 0;
  }

  close(): void {
    clearInterval(this.#watchdog);
    clearTimeout(this.#retry);
    this.#waiting = [];
    if (this.#socket !== undefined) this.#libc.close(this.#socket);
    this.#socket = undefined;
  }

  #ping(): void {
    // For a manager that is behind, the waiting message is a sign of life too.
    if (this.#waiting.length === 0) this.#tell(["WATCHDOG=1"]);
  }

  #tell(assignments: readonly string[], about: Omit<Message, "text"> = {}): void {
    if (this.#socket === undefined) return;
    this.#waiting.push({ text: assignments.join("\n"), ...about });
    if (this.#retry === undefined) this.#flush(this.#socket);
  }

  /** Never waits for the manager, because a hanging manager must not make the forwarder hang. */
  #flush(socket: number): void {
    this.#retry = undefined;
    for (let message; (message = this.#waiting[0]) !== undefined; this.#waiting.shift()) {
      try {
        this.#send(socket, message);
        this.#retryMs = RETRY_MS;
      } catch (error) {
        if (errnoName(error) === "EAGAIN") {
          this.#retry = setTimeout(() => this.#flush(socket), this.#retryMs);
          this.#retryMs = Math.min(2 * this.#retryMs, LONGEST_RETRY_MS);
          return;
        }
        // No message can be sent any more. If the manager still exists, it will act on its own timeouts.
        this.#log.warn("service manager can no longer be reached", { error: error as Error });
        this.close();
        return;
      }
    }
  }

  #send(socket: number, { text, descriptor }: Message): void {
    const descriptors = descriptor === undefined ? [] : [descriptor];
    sendDescriptors(this.#libc, socket, new TextEncoder().encode(text), descriptors, MSG_DONTWAIT);
  }
}

/** A status is one line, because a second line would be another assignment. */
function statusLine(status: string): string {
  return `${STATUS}${status.replace(/\s*\n\s*/g, " ")}`;
}
