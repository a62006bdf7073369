import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";

/** What Kata's `jaeger_user` and `jaeger_password` have to be. */
export interface JaegerCredentials {
  readonly user: string;
  readonly password: string;
}

/** Checks what Kata sends of `jaeger_user` and `jaeger_password`: HTTP's basic authentication (RFC 7617). */
export class CredentialsCheck {
  readonly #expected: Uint8Array;

  constructor({ user, password }: JaegerCredentials) {
    this.#expected = digest(`${user}:${password}`);
  }

  /** Whether an `Authorization` header has them. Takes as long for a wrong guess as for any other. */
  isRight(header: string | undefined): boolean {
    const [, encoded] = /^basic +([a-z0-9+/]*={0,2}) *$/i.exec(header ?? "") ?? [];
    if (encoded === undefined) return false;
    // Digests have one length, so the comparison does not tell that of the password.
    return timingSafeEqual(digest(Buffer.from(encoded, "base64").toString("utf8")), this.#expected);
  }
}

function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
