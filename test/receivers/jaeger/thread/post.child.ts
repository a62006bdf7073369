import process from "node:process";
import { jaegerBodies } from "../../../decode/support/jaeger-fixtures.ts";
import { HttpClient } from "../../support/http-post.ts";

/** Sends the Go shim's session to a port, one span after the other, and prints the statuses of the answers. */
const client = new HttpClient(Number(process.argv[2]));
const statuses: number[] = [];
for (const body of jaegerBodies("go-session")) {
  statuses.push((await client.post("/", body, { "content-type": "application/x-thrift" })).status);
}
client.close();
process.stdout.write(JSON.stringify(statuses));
