import { createRequire } from "node:module";
import process from "node:process";
import { parseCommandLine } from "../../src/options/cli.ts";
import { startForwarder } from "../../src/forwarder.ts";
import { createLogger } from "../../src/base/log.ts";

/** Runs a forwarder with the given arguments until it listens, and writes the packages that it has loaded, as JSON. */
const command = parseCommandLine(process.argv.slice(2), {});
if (command.kind !== "run") throw new Error("no forwarder");
const log = createLogger({ level: "critical", format: "json", colour: false, write: () => {} });
const forwarder = await startForwarder(command.settings, { log });
await forwarder.stop();
const packages = Object.keys(createRequire(import.meta.url).cache)
  .map((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? "the forwarder");
process.stdout.write(JSON.stringify([...new Set(packages)]), () => process.exit());
