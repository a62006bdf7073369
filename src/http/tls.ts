/** A server's certificate and key, in PEM, and the clients that it lets in. */
export interface TlsCredentials {
  /** The server's certificate, and those between it and the authority. */
  readonly certificate: Uint8Array;
  readonly key: Uint8Array;
  /** The authority that clients' certificates have to be from; absent: clients need no certificate. */
  readonly clientAuthority?: Uint8Array;
}
