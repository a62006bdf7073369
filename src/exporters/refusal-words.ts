/**
 * What gRPC servers say of a message that is too large, each with a code of its own: grpc-go and grpc-js ("received
 * message larger than max"), grpc-java ("gRPC message exceeds maximum size"), .NET ("exceeds the maximum configured
 * message size"), tonic ("decoded message length too large", with the retryable OUT_OF_RANGE), Tempo
 * ("TRACE_TOO_LARGE").
 */
const TOO_LARGE = /larger than max|exceeds (?:the )?max(?:imum)?(?: configured)? (?:message )?size|too[ _]large/i;

/**
 * What backends say when the reason is how much is sent, and not what is sent: Tempo and Grafana Cloud ("RATE_LIMITED",
 * "LIVE_TRACES_EXCEEDED"), Envoy ("rate limited"), cloud providers ("Quota exceeded", "Too many requests").
 */
const TOO_MUCH =
  /rate[ _-]?limit|limit[ _-]?rate|throttl|quota|too many requests|LIVE_TRACES_EXCEEDED|over[ -]?load|overwhelmed|out of memory|memory usage/i;

/** Whether a refusal is about the size of the request, so that parts of it may be taken. */
export function saysTooLarge(message: string): boolean {
  return TOO_LARGE.test(message) && !TOO_MUCH.test(message);
}

/** Whether a refusal is about the load, so that the same request may be taken later and its parts would not be now. */
export function saysTooMuch(message: string): boolean {
  return TOO_MUCH.test(message);
}
