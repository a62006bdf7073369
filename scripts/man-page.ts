/** Writes the man page, kata-trace-forwarder(1), to standard output. Argument: the page's date, YYYY-MM-DD. */
import process from "node:process";
import { VERSION } from "../src/base/version.ts";
import { environmentNames, type Example, type Option } from "../src/options/option.ts";
import { COMMANDS, EXAMPLES, OPTION_GROUPS, OPTIONS, PROGRAM, type Subcommand } from "../src/options/table.ts";

/** The page, in the macros of man(7). */
export function manPage(date: string): string {
  return [
    `.TH ${PROGRAM.toUpperCase()} 1 ${date} "${PROGRAM} ${VERSION}" "User Commands"`,
    ".SH NAME",
    `${escaped(PROGRAM)} \\- receives the spans of Kata Containers guests and exports them over OTLP`,
    ".SH SYNOPSIS",
    `.B ${escaped(PROGRAM)}`,
    "[\\fIOPTION\\fR]...",
    ...Object.entries(COMMANDS).flatMap(([name, command]: [string, Subcommand]) => [
      ".br",
      `.B ${escaped(`${PROGRAM} ${name}`)}`,
      ...operandsOf(command),
    ]),
    ".SH DESCRIPTION",
    "It runs on the host, takes agents' spans over vsock, runtimes' over Jaeger Thrift and other programs' over OTLP,",
    "and exports them over OTLP to a collector. Each option can be given as a flag or in the environment. A flag wins,",
    "and an empty variable counts as unset.",
    ".PP",
    "SIGTERM, SIGINT and SIGHUP stop it once it has delivered what guests have sent. SIGUSR1 logs its figures.",
    ".SH OPTIONS",
    ...Object.entries(OPTION_GROUPS).flatMap(([group, table]) => [
      `.SS ${escaped(group)}`,
      ...Object.values(table).flatMap(optionEntry),
    ]),
    ".SH COMMANDS",
    ...Object.entries(COMMANDS).flatMap(([name, command]) => commandEntry(name, command)),
    ".SH EXIT STATUS",
    ...[
      ["0", "Stopped, and everything was delivered or is in the spool."],
      [
        "1",
        "An invalid option or a failed start; a line on standard error says why.",
      ],
      ["2", "Stopped, but some spans could not be delivered; the log says how many."],
      [
        "3",
        "check: something is to be done. compare: something has become slower.",
      ],
    ].flatMap(([code = "", meaning = ""]) => [".TP", `.B ${code}`, escaped(meaning)]),
    ".SH FILES",
    ".TP",
    ".I /etc/default/kata\\-trace\\-forwarder",
    "The environment of the systemd service, with every option as a variable.",
    ".TP",
    ".I /var/lib/kata\\-trace\\-forwarder/spool",
    "What the systemd service has not delivered yet.",
    ".SH EXAMPLES",
    ...exampleLines(EXAMPLES),
    "",
  ].join("\n");
}

function operandsOf({ options, operands }: Subcommand): string[] {
  return [
    ...(Object.keys(options).length === 0 ? [] : ["[\\fIOPTION\\fR]..."]),
    ...(operands === undefined ? [] : [operands === "file" ? "[\\fIFILE\\fR]..." : operands.map(escaped).join(" | ")]),
  ];
}

function optionEntry(option: Option): string[] {
  const names = option.flag === undefined
    ? environmentNames(option)
    : [...(option.short === undefined ? [] : [option.short]), option.flag];
  const value = option.metavar === undefined ? "" : ` \\fI${escaped(option.metavar)}\\fR`;
  const shown = option.defaultText ?? option.default;
  const environment = option.flag === undefined ? [] : environmentNames(option);
  return [
    ".TP",
    `${names.map((name) => `\\fB${escaped(name)}\\fR`).join(", ")}${value}`,
    `${escaped(option.help)}.${shown === undefined ? "" : ` Default: ${escaped(shown)}.`}`,
    ...(environment.length === 0 ? [] : [".br", `Environment: ${environment.map(escaped).join(", ")}`]),
  ];
}

function commandEntry(name: string, command: Subcommand): string[] {
  const own = Object.entries(command.options).filter(([key]) => !(key in OPTIONS)).map(([, option]) => option);
  const takesAll = Object.keys(OPTIONS).every((key) => key in command.options);
  return [
    `.SS ${escaped(name)}`,
    `${escaped(command.help)}.${takesAll ? " Takes all options of the forwarder itself." : ""}`,
    ...own.flatMap(optionEntry),
    ...(command.examples === undefined ? [] : [".PP", "Examples:", ...exampleLines(command.examples)]),
  ];
}

function exampleLines(examples: readonly Example[]): string[] {
  return examples.flatMap(({ does, words }) => [
    ".TP",
    `${escaped(does)}:`,
    `.B ${escaped(`${PROGRAM} ${words}`).replaceAll('"', "\\(dq")}`,
  ]);
}

/** Text in which troff sees no escape, no hyphen where a minus is meant, and no request at the line's beginning. */
function escaped(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^([.'])/, "\\&$1");
}

if (import.meta.main) process.stdout.write(manPage(process.argv[2] ?? new Date().toISOString().slice(0, 10)));
