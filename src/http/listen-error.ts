/** Where to listen. Port 0 lets the system choose. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** `HOST:PORT`, as options and URLs write it. */
export function shownAddress({ host, port }: ListenAddress): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** An address that cannot be listened at: the message names the reason and what to do. */
export class HttpListenError extends Error {
  override readonly name = "HttpListenError";
  /** Whether somebody else listens there. */
  readonly isInUse: boolean;

  constructor(address: ListenAddress, cause: NodeJS.ErrnoException) {
    super(`${shownAddress(address)}: ${explain(cause)}`, { cause });
    this.isInUse = cause.code === "EADDRINUSE";
  }
}

function explain(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case "EADDRINUSE":
      return "the port is in use: stop what listens there, or choose another";
    case "EACCES":
      return "the port needs privileges: choose one from 1024 on";
    case "EADDRNOTAVAIL":
    case "EINVAL":
      return "this machine has no such address";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "there is no such host";
    default:
      return error.message;
  }
}
