import { createHash } from "node:crypto";
import page from "./page/dist/page.html" with { type: "text" };

/** The viewer's page: one HTML document with its script and its style in it. */
export const PAGE_HTML: string = String(page);

/** What a page may do: run its own script, and ask its own server. Nothing else, whatever gets into it. */
export const CONTENT_SECURITY_POLICY: string = [
  "default-src 'none'",
  `script-src ${hashes("script")}`,
  `style-src ${hashes("style")}`,
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** The hashes of all elements of a kind, as CSP wants them (https://www.w3.org/TR/CSP3/#grammardef-hash-source). */
function hashes(element: "script" | "style"): string {
  const contents = [...PAGE_HTML.matchAll(new RegExp(`<${element}(?: [^>]*)?>([^]*?)</${element}>`, "g"))];
  const sources = contents.map(([, content = ""]) => {
    return `'sha256-${createHash("sha256").update(content).digest("base64")}'`;
  });
  return sources.length === 0 ? "'none'" : sources.join(" ");
}
