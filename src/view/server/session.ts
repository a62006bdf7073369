import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** The cookie's name; `__Host-` would ask for TLS, which loopback does not have. */
const COOKIE = "ktf_view";
/** Of a token, bytes. */
export const TOKEN_BYTES = 24;
/** Names under which a loopback address is reached; `kubectl port-forward` and `ssh -L` give it any port. */
const LOOPBACK_HOSTS: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** What of a request decides whether it is answered. */
export interface RequestHead {
  readonly method: string;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  readonly cookie: string | undefined;
}

/** Why a request is refused: its status and one line. */
export interface Refusal {
  readonly status: 401 | 403 | 421;
  readonly error: string;
}

/**
 * Decides who may ask: anyone with the token, which is printed to the terminal of the person who started the viewer.
 *
 * - The Host header has to name a loopback address, so that a name that somebody points to 127.0.0.1 (DNS rebinding)
 *   gets nothing.
 * - If there is an Origin, it has to be the page's own.
 * - The token comes in the URL's fragment, which no request carries; the page exchanges it for a cookie that no other
 *   site can send along.
 */
export class Sessions {
  /** For the URL's fragment. */
  readonly token: string;
  /** The cookie's value. It follows from the token, so that a viewer that was started again knows its pages. */
  readonly #secret: string;

  /** @param token of an earlier viewer in the same place; default: a new one. */
  constructor(token: string = randomBytes(TOKEN_BYTES).toString("base64url")) {
    this.token = token;
    this.#secret = createHash("sha256").update(`cookie ${token}`).digest("base64url");
  }

  /** The `Set-Cookie` header for a token; undefined for a wrong one. */
  exchange(token: unknown): string | undefined {
    if (typeof token !== "string" || !equal(token, this.token)) return undefined;
    return `${COOKIE}=${this.#secret}; Path=/; HttpOnly; SameSite=Strict`;
  }

  /** Why a request may not be answered; undefined if it may. */
  refuse(head: RequestHead): Refusal | undefined {
    const refusal = refuseForeign(head);
    if (refusal !== undefined) return refusal;
    const cookies = (head.cookie ?? "").split(";").map((pair) => pair.trim());
    const sent = cookies.find((pair) => pair.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1);
    if (sent !== undefined && equal(sent, this.#secret)) return undefined;
    return { status: 401, error: "no session: open the URL that kata-trace-forwarder has printed, with its token" };
  }
}

/** Refuses what does not come from this machine's own page. */
export function refuseForeign({ host, origin }: RequestHead): Refusal | undefined {
  const name = host === undefined ? undefined : /^(.*?)(?::\d+)?$/.exec(host)?.[1];
  if (name === undefined || !LOOPBACK_HOSTS.has(name.toLowerCase())) {
    return { status: 421, error: "unknown host: use localhost or 127.0.0.1, through ssh -L or kubectl port-forward" };
  }
  if (origin !== undefined && origin !== `http://${host}`) {
    return { status: 403, error: "this API answers its own page alone" };
  }
  return undefined;
}

function equal(a: string, b: string): boolean {
  const digest = (text: string): Uint8Array => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
