/** A certificate in a file; there may be text before it, others after it, and a byte order mark (RFC 7468). */
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** Every certificate in a file's text, in PEM. */
export function certificatesIn(text: string): string[] {
  return text.match(CERTIFICATE) ?? [];
}
