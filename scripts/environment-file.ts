/** Makes `deploy/systemd/kata-trace-forwarder.env` from the table of options. `scripts/options-table` runs it. */

import process from "node:process";
import { environmentNames, type Option } from "../src/options/option.ts";
import { OPTION_GROUPS } from "../src/options/table.ts";

/** Columns of a comment. */
const WIDTH = 100;

const HEADER = `\
# /etc/default/kata-trace-forwarder: the environment of kata-trace-forwarder.service. The syntax is that of
# EnvironmentFile= in systemd.exec(5): VARIABLE=value, in quotation marks if it contains blanks. Nothing is expanded.
#
# Every option is here, with its default, or with "true" if it is off by default. To set one, remove the "#" in front of
# the variable, and run: systemctl restart kata-trace-forwarder. The unit itself sets the spool's directory.
#
# Made from the program's own table of options by scripts/options-table.
`;

/**
 * OpenTelemetry's variables that are read besides the options.
 * https://opentelemetry.io/docs/specs/otel/protocol/exporter/
 */
const OTLP_VARIABLES = `\
# As in OpenTelemetry's exporters; each also exists as OTEL_EXPORTER_OTLP_TRACES_…
#OTEL_EXPORTER_OTLP_HEADERS=name=value,name=value
#OTEL_EXPORTER_OTLP_TIMEOUT=10000
#OTEL_EXPORTER_OTLP_COMPRESSION=gzip
#OTEL_EXPORTER_OTLP_CERTIFICATE=/etc/ssl/certs/collector-ca.pem
#OTEL_EXPORTER_OTLP_CLIENT_KEY=/etc/kata-trace-forwarder/client.key
#OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/etc/kata-trace-forwarder/client.pem
`;

/** The file's text. */
export function environmentFile(): string {
  const groups = Object.entries(OPTION_GROUPS).map(([heading, table]) =>
    `## ${heading}\n\n${Object.values(table).map(entry).join("\n")}`
  );
  const [collector, ...others] = groups as [string, ...string[]];
  return [HEADER, `${collector}\n${OTLP_VARIABLES}`, ...others].join("\n");
}

function entry(option: Option): string {
  const shown = option.defaultText ?? option.default;
  const text = shown === undefined ? option.help : `${option.help} (default: ${shown})`;
  // The most specific variable wins, so the last one is the one to set.
  const name = environmentNames(option).at(-1);
  const value = option.default ?? (option.metavar === undefined && option.flag ? "true" : "");
  return `${comment(text)}\n#${name}=${value}\n`;
}

function comment(text: string): string {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines[lines.length - 1] as string;
    if (`# ${line} ${word}`.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.map((line) => `# ${line}`).join("\n");
}

if (import.meta.main) process.stdout.write(environmentFile());
