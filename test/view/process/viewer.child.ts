/**
 * Stands in for a viewer's supervisor, to make it do what a real one does only when something is wrong. What it is to
 * do is its argument; what it has read, it says on its standard error.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { MessageReader } from "../../../src/view/process/protocol.ts";
import { type ProcessSettings, VIEWER_VARIABLE } from "../../../src/view/process/viewer-settings.ts";

const [mode] = process.argv.slice(2);
const say = (report: unknown): void => void process.stdout.write(`${JSON.stringify(report)}\n`);
const SERVING = { event: "serving", url: "http://127.0.0.1:1/#token=x" };

if (mode === "fails") {
  say({ event: "failed", error: "the port is in use" });
  process.exit(1);
}
say(SERVING);
if (mode === "never reads") setInterval(() => {}, 1000);
else {
  const { mark } = JSON.parse(process.env[VIEWER_VARIABLE] ?? "") as ProcessSettings;
  const reader = new MessageReader(Buffer.from(mark, "hex"));
  for await (const bytes of process.stdin as AsyncIterable<Uint8Array>) {
    for (const message of reader.push(bytes)) {
      if (message.type === "chunk") {
        const text = Buffer.from(message.bytes).toString();
        // Another viewer begins.
        if (text === "again") say(SERVING);
        say({ event: "log", level: "info", message: `chunk ${text}` });
      } else if (message.type === "reset") say({ event: "log", level: "info", message: "reset" });
      else say({ event: "log", level: "info", message: `${message.type} ${message.source.account}` });
    }
  }
}
