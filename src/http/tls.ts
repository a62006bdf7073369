/** What a server proves who it is with, in PEM, and whom it lets in. */
export interface TlsCredentials {
  /** The server's certificate, and those between it and the authority. */
  readonly certificate: Uint8Array;
  readonly key: Uint8Array;
  /** The authority that clients' certificates have to be from; absent: clients need none. */
  readonly clientAuthority?: Uint8Array;
}
