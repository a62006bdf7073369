/** A receiver that cannot be opened: the message names the option, the reason and what to do. */
export class HostReceiverError extends Error {
  override readonly name = "HostReceiverError";
}
