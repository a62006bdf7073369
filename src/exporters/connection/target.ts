/** Where requests go. */
export interface Target {
  /** A name or an address, without brackets; `localhost` for a socket. */
  readonly host: string;
  readonly port: number;
  /** Whether TLS is spoken. */
  readonly secure: boolean;
  /** The UNIX socket that is connected to instead of host and port. */
  readonly socketPath?: string;
  /** What a request says it is for: `Host`, or `:authority` in HTTP/2. */
  readonly authority: string;
}

/** The target of an endpoint's URL, which is `http:`, `https:` or `unix:///PATH`. */
export function targetOf(endpoint: string): Target {
  const { protocol, host, hostname, port, pathname } = new URL(endpoint);
  if (protocol === "unix:") {
    const socketPath = decodeURIComponent(pathname);
    return { host: "localhost", port: 0, secure: false, socketPath, authority: "localhost" };
  }
  const secure = protocol === "https:";
  return {
    // The URL class puts an IPv6 address in brackets, and leaves out the scheme's own port.
    host: hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(port || (secure ? 443 : 80)),
    secure,
    authority: host,
  };
}
