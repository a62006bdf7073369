import { once } from "node:events";
import net from "node:net";
import { join } from "node:path";
import process from "node:process";
import { createLogger } from "../../src/base/log.ts";
import { startForwarder } from "../../src/forwarder.ts";
import { parseCommandLine } from "../../src/options/cli.ts";
import { encodeBincode } from "../decode/support/bincode-encoder.ts";
import { fixture, frame } from "../decode/support/fixtures.ts";
import { HttpReceiver } from "../exporters/support/http-receiver.ts";
import { watchTimers } from "../support/pending-timers.ts";
import { until } from "../support/until.ts";

/**
 * Runs a forwarder, in a directory and with further arguments, for guests that send a span each and then nothing more.
 * Writes as JSON where the timers were set that there still are when it has nothing to do.
 */
const GUESTS = 5;
const [directory = "", ...args] = process.argv.slice(2);
const collector = new HttpReceiver();
await collector.listen();
using timers = watchTimers();
const socket = join(directory, "clh.sock");
// If this is root, it becomes another user that connects to the socket.
const common = ["--socket-path", socket, "--socket-mode", "666", "--otlp-endpoint", collector.url];
const command = parseCommandLine([...common, ...args], {});
if (command.kind !== "run") throw new Error("no forwarder");
const log = createLogger({ level: "critical", format: "json", colour: false, write: () => {} });
const forwarder = await startForwarder(command.settings, { log });
const guests = Array.from({ length: GUESTS }, () => net.connect(`${socket}_10240`));
await Promise.all(guests.map((guest) => once(guest, "connect")));
const [span] = fixture("session-isolated").expected;
if (span === undefined) throw new Error("there is no span to send");
const sent = collector.requests.length;
for (const guest of guests) guest.write(frame(encodeBincode(span)));
await until(() => collector.requests.length > sent, "the collector gets spans");
// Not those of this script or of the runtime. The log's fire once, some time after a message.
const ours = (): string[] =>
  timers.list().map(({ stack }) => stack).filter((stack) => /\/src\//.test(stack) && !stack.includes("base/log.ts"));
// What is left after a long time is written.
await until(() => ours().length === 0).catch(() => {});
const left = ours();
for (const guest of guests) guest.destroy();
await forwarder.stop();
process.stdout.write(JSON.stringify(left), () => process.exit());
