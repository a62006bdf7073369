import process from "node:process";
import { HttpClient } from "../../receivers/support/http-post.ts";

/**
 * Stands for a Go shim that does not say whose its spans are, but for its command line: sends the bodies in its second
 * argument (JSON, base64) to the port in its first, and stays connected until its standard input ends.
 */
const [port = "", bodies = "[]"] = process.argv.slice(2);
const client = new HttpClient(Number(port));
for (const body of JSON.parse(bodies) as string[]) {
  const { status } = await client.post("/api/traces", Buffer.from(body, "base64"), {
    "content-type": "application/x-thrift",
  });
  process.stdout.write(`${status}\n`);
}
process.stdin.on("end", () => client.close());
process.stdin.resume();
