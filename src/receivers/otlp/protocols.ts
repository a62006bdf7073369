import { Buffer } from "node:buffer";
import { headerOf, type HttpAnswer, type HttpHead } from "../../http/messages.ts";
import {
  exportResponse,
  exportResponseJson,
  type Failure,
  GRPC,
  type Rejected,
  statusJson,
  statusMessage,
} from "./responses.ts";

/** What a request's bytes are. */
export type Encoding = "protobuf" | "json";

/** How one way of sending OTLP asks and is answered. */
export interface OtlpProtocol {
  /** Why a request is refused by its headers. */
  refusal(head: HttpHead): { readonly failure: Failure; readonly status: number } | undefined;
  encoding(head: HttpHead): Encoding;
  /** The request's message within its body, perhaps compressed. */
  unwrap(head: HttpHead, body: Uint8Array): { readonly message: Uint8Array; readonly isGzip: boolean } | Failure;
  success(head: HttpHead, rejected: Rejected): HttpAnswer;
  /** @param status of HTTP, which gRPC does not use. */
  failure(head: HttpHead, failure: Failure, status: number): HttpAnswer;
}

const HTTP_PATH = "/v1/traces";
const GRPC_PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const PROTOBUF_TYPE = "application/x-protobuf";
const JSON_TYPE = "application/json";
const GRPC_TYPE = "application/grpc";

const NOT_FOUND = 404;
const METHOD_NOT_ALLOWED = 405;
const UNSUPPORTED_MEDIA_TYPE = 415;

/** OTLP/gRPC if the request says so over the one version of HTTP that can carry it, else OTLP/HTTP. */
export function protocolOf(head: HttpHead): OtlpProtocol {
  return head.protocol === "HTTP/2" && isGrpc(contentType(head)) ? OTLP_GRPC : OTLP_HTTP;
}

function contentType(head: HttpHead): string {
  return (headerOf(head, "content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

function isGrpc(type: string): boolean {
  return type === GRPC_TYPE || type.startsWith(`${GRPC_TYPE}+`);
}

/** Specification: https://opentelemetry.io/docs/specs/otlp/#otlphttp */
export const OTLP_HTTP: OtlpProtocol = {
  refusal: (head) => {
    const { method, path } = head;
    const type = contentType(head);
    const encoding = headerOf(head, "content-encoding")?.toLowerCase() ?? "identity";
    if (path !== HTTP_PATH) {
      const message = /^\/v1\/(?:metrics|logs)$|^\/v1development\/profiles$/.test(path)
        ? `only traces are taken here, at ${HTTP_PATH}`
        : `traces are taken at ${HTTP_PATH}`;
      return { failure: { code: GRPC.notFound, message }, status: NOT_FOUND };
    }
    if (method !== "POST") {
      return { failure: { code: GRPC.unimplemented, message: "only POST" }, status: METHOD_NOT_ALLOWED };
    }
    if (type !== PROTOBUF_TYPE && type !== JSON_TYPE) {
      const message = `the content type must be ${PROTOBUF_TYPE} or ${JSON_TYPE}`;
      return { failure: { code: GRPC.invalidArgument, message }, status: UNSUPPORTED_MEDIA_TYPE };
    }
    if (encoding !== "gzip" && encoding !== "identity") {
      const message = "the content encoding must be gzip or none";
      return { failure: { code: GRPC.invalidArgument, message }, status: UNSUPPORTED_MEDIA_TYPE };
    }
    return undefined;
  },
  encoding: (head) => contentType(head) === JSON_TYPE ? "json" : "protobuf",
  unwrap: (head, body) => ({
    message: body,
    isGzip: headerOf(head, "content-encoding")?.toLowerCase() === "gzip",
  }),
  success: (head, rejected) => {
    const isJson = contentType(head) === JSON_TYPE;
    return {
      status: 200,
      headers: { "content-type": isJson ? JSON_TYPE : PROTOBUF_TYPE },
      body: isJson ? exportResponseJson(rejected) : exportResponse(rejected),
    };
  },
  failure: (head, failure, status) => {
    const isJson = contentType(head) === JSON_TYPE;
    const { retrySeconds } = failure;
    return {
      status,
      headers: {
        "content-type": isJson ? JSON_TYPE : PROTOBUF_TYPE,
        ...retrySeconds !== undefined && { "retry-after": String(retrySeconds) },
        ...status === METHOD_NOT_ALLOWED && { allow: "POST" },
        ...status === UNSUPPORTED_MEDIA_TYPE && { "accept-encoding": "gzip" },
      },
      body: isJson ? statusJson(failure) : statusMessage(failure),
    };
  },
};

/** A message's head: whether it is compressed, and its length, four bytes big endian. */
const GRPC_HEAD_BYTES = 5;

/**
 * A unary call, as https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md has it.
 *
 * Specification: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc
 */
export const OTLP_GRPC: OtlpProtocol = {
  refusal: (head) => {
    const unimplemented = (message: string) => ({ failure: { code: GRPC.unimplemented, message }, status: 200 });
    if (head.method !== "POST") return unimplemented("only POST");
    if (head.path !== GRPC_PATH) {
      return unimplemented(`only traces are taken here, by ${GRPC_PATH.slice(1)}`);
    }
    const encoding = headerOf(head, "grpc-encoding") ?? "identity";
    if (encoding !== "gzip" && encoding !== "identity") return unimplemented("the encoding must be gzip or identity");
    if (!["", "+proto"].includes(contentType(head).slice(GRPC_TYPE.length))) {
      return unimplemented(`the content type must be ${GRPC_TYPE} or ${GRPC_TYPE}+proto`);
    }
    return undefined;
  },
  encoding: () => "protobuf",
  unwrap: (head, body) => {
    if (body.length < GRPC_HEAD_BYTES) return { code: GRPC.internal, message: "a call without a message" };
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    const [compressed] = body;
    const length = view.getUint32(1);
    if (length !== body.length - GRPC_HEAD_BYTES) {
      const message = length > body.length - GRPC_HEAD_BYTES
        ? "the message is cut"
        : "more than one message in a unary call";
      return { code: GRPC.internal, message };
    }
    const isGzip = headerOf(head, "grpc-encoding") === "gzip";
    if (compressed !== 0 && (compressed !== 1 || !isGzip)) {
      return { code: GRPC.internal, message: "the message is compressed in a way that its headers do not name" };
    }
    return { message: body.subarray(GRPC_HEAD_BYTES), isGzip: compressed === 1 };
  },
  success: (_head, rejected) => {
    const response = exportResponse(rejected);
    const body = new Uint8Array(GRPC_HEAD_BYTES + response.length);
    new DataView(body.buffer).setUint32(1, response.length);
    body.set(response, GRPC_HEAD_BYTES);
    return { status: 200, headers: GRPC_HEADERS, body, trailers: { "grpc-status": String(GRPC.ok) } };
  },
  failure: (_head, failure) => ({
    status: 200,
    headers: GRPC_HEADERS,
    trailers: {
      "grpc-status": String(failure.code),
      "grpc-message": percentEncoded(failure.message),
      "grpc-status-details-bin": Buffer.from(statusMessage(failure)).toString("base64").replace(/=+$/, ""),
    },
  }),
};

const GRPC_HEADERS = { "content-type": GRPC_TYPE, "grpc-accept-encoding": "identity,gzip" };

/** As `grpc-message` wants it: what is not printable ASCII, and the percent sign, byte by byte. */
function percentEncoded(text: string): string {
  return [...Buffer.from(text)].map((byte) =>
    byte < 0x20 || byte > 0x7e || byte === 0x25
      ? `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
      : String.fromCharCode(byte)
  ).join("");
}
