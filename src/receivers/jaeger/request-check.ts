import { headerOf, type HttpAnswer, type HttpHead, textAnswer } from "../../http/messages.ts";
import { CredentialsCheck, type JaegerCredentials } from "./credentials.ts";

/** What exporters call TBinaryProtocol: the Go and the Rust one, as Jaeger's own collector takes it. */
const CONTENT_TYPES: readonly string[] = ["application/x-thrift", "application/vnd.apache.thrift.binary"];

/** Refuses by its headers what cannot be a batch. Any path will do, because `jaeger_endpoint` is the user's. */
export class RequestCheck {
  readonly #credentials: CredentialsCheck | undefined;

  /** @param credentials absent: any credentials are accepted. */
  constructor(credentials: JaegerCredentials | undefined) {
    this.#credentials = credentials === undefined ? undefined : new CredentialsCheck(credentials);
  }

  /** An answer, if the request is refused. */
  refusal(head: HttpHead): HttpAnswer | undefined {
    if (head.method !== "POST") return textAnswer(405, "only POST\n", { allow: "POST" });
    if (this.#credentials?.isRight(headerOf(head, "authorization")) === false) {
      return textAnswer(401, "jaeger_user or jaeger_password is wrong\n", {
        "www-authenticate": 'Basic realm="kata-trace-forwarder"',
      });
    }
    const type = (headerOf(head, "content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
    const encoding = headerOf(head, "content-encoding")?.toLowerCase() ?? "identity";
    if (!CONTENT_TYPES.includes(type) || encoding !== "identity") {
      return textAnswer(415, `only ${CONTENT_TYPES.join(" or ")}, not compressed\n`);
    }
    return undefined;
  }
}
