import { type DescriptorMessage, receiveDescriptors } from "../../../ffi/descriptor-passing.ts";
import { errnoName, LibcError } from "../../../ffi/errors.ts";
import { loadLibc } from "../../../ffi/libc.ts";

/** socket(2), recv(2) */
const AF_UNIX = 1, SOCK_DGRAM = 2, SOCK_CLOEXEC = 0o2000000, MSG_DONTWAIT = 0x40;

const libc = await loadLibc();
/** A service manager's end of `NOTIFY_SOCKET`. */
export class NotifyReceiver {
  readonly #socket: number;

  /** @param name a path, or an abstract name with `@` for its zero. */
  constructor(name: string) {
    this.#socket = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const path = new TextEncoder().encode(name.replace(/^@/, "\0"));
    const address = new Uint8Array(2 + path.length);
    address[0] = AF_UNIX;
    address.set(path, 2);
    libc.bind(this.#socket, address);
  }

  /** The messages that have arrived since the last call. */
  read(): string[] {
    return this.messages().map(({ bytes }) => new TextDecoder().decode(bytes));
  }

  /** The same with their descriptors, which the caller must close. */
  messages(): DescriptorMessage[] {
    const messages: DescriptorMessage[] = [];
    for (;;) {
      try {
        messages.push(receiveDescriptors(libc, this.#socket, 4096, 8, MSG_DONTWAIT));
      } catch (error) {
        if (errnoName(error) === "EAGAIN") return messages;
        throw error;
      }
    }
  }

  close(): void {
    libc.close(this.#socket);
  }

  /** Sends from a socket of its own until the queue is full; returns how many messages fit. */
  fill(address: Uint8Array): number {
    const sender = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    try {
      libc.connect(sender, address);
      for (let sent = 0;; sent++) {
        try {
          libc.send(sender, Uint8Array.of(0x2e), MSG_DONTWAIT);
        } catch (error) {
          if (error instanceof LibcError && errnoName(error) === "EAGAIN") return sent;
          throw error;
        }
      }
    } finally {
      libc.close(sender);
    }
  }
}
