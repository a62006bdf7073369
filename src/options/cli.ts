import { Command as Program, CommanderError, Help, Option as ProgramOption } from "commander";
import { COMPLETION_SHELLS, completionScript, type CompletionShell } from "./completions.ts";
import { type LogLevel, printable } from "../base/log.ts";
import { type Environment, type Flags, type Resolved, resolveOptions } from "./resolve.ts";
import type { Example, Option } from "./option.ts";
import { COMMANDS, DEMO_OPTIONS, EXAMPLES, OPTION_GROUPS, OPTIONS, PROGRAM, type Subcommand } from "./table.ts";
import { addViewCommands, type ViewCommand } from "./view-commands.ts";
import { listed, oneOf, quoted, UsageError } from "./values.ts";
import type { Settings } from "../pipeline/settings.ts";
import { settingsFrom } from "./settings.ts";
import { versionText } from "../base/version.ts";

export { UsageError };

/** What the user asks for. A text ends with a newline. */
export type Command =
  | { readonly kind: "run"; readonly settings: Settings }
  /** `width` is in columns; absent: the terminal's. */
  | { readonly kind: "demo"; readonly width?: number; readonly view: boolean; readonly logLevel: LogLevel }
  | ViewCommand
  /** The settings are those of a forwarder that this host is checked for. */
  | { readonly kind: "check"; readonly settings: Settings; readonly json: boolean }
  | { readonly kind: "completions"; readonly shell: CompletionShell; readonly script: string }
  | { readonly kind: "help"; readonly text: string }
  | { readonly kind: "version"; readonly text: string }
  | { readonly kind: "licenses" };

const VERSION: Command = { kind: "version", text: `${PROGRAM} ${versionText()}\n` };

/** Columns of the help: wide lines are hard to read, and beside the options' names there is no room in narrow ones. */
const HELP_WIDTH = { least: 60, most: 100 };

/** Beside long names text is broken into lines of at least so many columns. */
const LEAST_TEXT_WIDTH = 10;

/**
 * Reads the arguments (without the program's own name) and the environment; nothing is opened or printed.
 * Throws a {@link UsageError}.
 *
 * @param columns of the terminal, which the help fits into; absent if nobody reads what is printed.
 */
export function parseCommandLine(
  argv: readonly string[],
  environment: Environment,
  columns?: number,
): Command {
  let command: Command | undefined;
  let output = "";
  const helpWidth = Math.min(Math.max(columns ?? HELP_WIDTH.most, HELP_WIDTH.least), HELP_WIDTH.most);
  const isTerminal = columns !== undefined;
  const program = describeProgram((chosen) => command = chosen, environment, { helpWidth, isTerminal });
  for (const each of [program, ...program.commands]) {
    each.allowExcessArguments(each === program);
    each.exitOverride();
    each.configureOutput({
      writeOut: (text) => output += text,
      writeErr: () => {}, // The error that is thrown has the same message.
      getOutHelpWidth: () => helpWidth,
      getOutHasColors: () => false,
    });
  }
  try {
    // commander takes the second `help` for a command that it does not know.
    program.parse(argv.join(" ") === "help help" ? ["help"] : argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const text = `${output.trimEnd()}\n`;
    if (error.code === "commander.version") return VERSION;
    if (error.exitCode === 0) return { kind: "help", text };
    // For an unknown command `help` shows the whole program's help, and calls that a failure.
    if (error.code === "commander.help") throw unknownCommand(argv.at(-1) ?? "");
    throw new UsageError(oneLine(error.message));
  }
  if (command === undefined) throw new Error("no command was chosen");
  return command;
}

/** commander's message in the project's form: without `error:`, and with its suggestion on the same line. */
function oneLine(message: string): string {
  const line = message.replace(/^error: /, "").replace(/\s*\n\s*/g, " ");
  const [, flag = ""] = /^unknown option '(--[a-z-]+)=/.exec(line) ?? [];
  return `${FLAGS.has(flag) ? `${flag} takes no value` : printable(line)} (see --help)`;
}

function unknownCommand(word: string): UsageError {
  const known = listed([...Object.keys(COMMANDS), "help"]);
  return new UsageError(`unknown command ${quoted(word)}: the commands are ${known}`);
}

function describeProgram(
  choose: (command: Command) => void,
  environment: Environment,
  { helpWidth, isTerminal }: { readonly helpWidth: number; readonly isTerminal: boolean },
): Program {
  const program = new Program(PROGRAM)
    .description(
      "Receives the spans of Kata Containers guests over vsock and exports them over OTLP.",
    )
    .helpCommand("help [command]", "Show a command's help")
    .enablePositionalOptions()
    .configureHelp({ optionTerm, subcommandTerm: (command) => command.name() })
    .addHelpText("after", () => `\n${environmentHelp(helpWidth)}\n\n${examplesHelp(EXAMPLES)}`);
  for (const [group, table] of Object.entries(OPTION_GROUPS)) {
    program.optionsGroup(`${group}:`);
    addOptions(program, table);
  }
  program.optionsGroup("Help:")
    .helpOption("-h, --help", "Show this help")
    .version(`${PROGRAM} ${versionText()}`, "-v, --version", COMMANDS.version.help)
    // As most programs call it; `-v` is the Rust forwarder's.
    .addOption(new ProgramOption("-V").hideHelp())
    .on("option:V", () => {
      throw new CommanderError(0, "commander.version", "");
    });
  program.action((flags: Flags) => {
    // commander treats a word that is not a command as an argument.
    const [operand] = program.args;
    if (operand !== undefined) throw unknownCommand(operand);
    choose({ kind: "run", settings: settingsFrom(resolve(OPTIONS, flags, environment)) });
  });

  const check = describeCommand(program, "check");
  addOptions(check, COMMANDS.check.options);
  check.helpOption("-h, --help", "Show this help").action((flags: Flags) => {
    refuseFlags(program, "check");
    const options = resolve(COMMANDS.check.options, flags, environment);
    choose({ kind: "check", settings: checkedSettings(options), json: options.json?.value === true });
  });

  const demo = describeCommand(program, "demo");
  addOptions(demo, DEMO_OPTIONS);
  demo.helpOption("-h, --help", "Show this help").action((flags: Flags) => {
    refuseFlags(program, "demo");
    const { width, view, logLevel } = resolve(DEMO_OPTIONS, flags, environment);
    choose({
      kind: "demo",
      ...(width && { width: width.value }),
      view: view?.value === true,
      logLevel: logLevel.value,
    });
  });

  addViewCommands(program, {
    describe: (name) => {
      const command = describeCommand(program, name);
      addOptions(command, COMMANDS[name].options);
      return command.helpOption("-h, --help", "Show this help");
    },
    resolve: (table, flags) => resolve(table, flags, environment),
    refuseFlags: (name) => refuseFlags(program, name),
    choose,
    isTerminal,
  });

  describeCommand(program, "completions")
    .argument("<shell>", listed(COMPLETION_SHELLS))
    .helpOption("-h, --help", "Show this help")
    .action((argument: string) => {
      refuseFlags(program, "completions");
      const shell = completionShell(argument);
      choose({ kind: "completions", shell, script: completionScript(shell) });
    });

  describeCommand(program, "licenses").helpOption("-h, --help", "Show this help").action(() => {
    refuseFlags(program, "licenses");
    choose({ kind: "licenses" });
  });
  describeCommand(program, "version").helpOption("-h, --help", "Show this help").action(() => {
    refuseFlags(program, "version");
    choose(VERSION);
  });
  return program;
}

function describeCommand(program: Program, name: keyof typeof COMMANDS): Program {
  const { help, examples = [] }: Subcommand = COMMANDS[name];
  const command = program.command(name).description(help).configureHelp({ optionTerm });
  return examples.length === 0 ? command : command.addHelpText("after", () => `\n${examplesHelp(examples)}`);
}

function examplesHelp(examples: readonly Example[]): string {
  return ["Examples:", ...examples.flatMap(({ does, words }) => [`  # ${does}`, `  ${PROGRAM} ${words}`])].join("\n");
}

/** Checks every place where guests could come in, unless the options name some. */
function checkedSettings(options: Resolved<typeof COMMANDS.check.options>): Settings {
  const isToldWhere = options.vsockCid.source !== "default" || options.socketPath !== undefined;
  const all = { value: true, source: "default", name: "check" } as const;
  return settingsFrom({ ...options, ...(!isToldWhere && { allHypervisors: all }) });
}

function completionShell(argument: string): CompletionShell {
  try {
    return oneOf(COMPLETION_SHELLS)(argument);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`completions: ${error.message}`, { cause: error });
  }
}

function resolve<Table extends Readonly<Record<string, Option>>>(
  table: Table,
  flags: Flags,
  environment: Environment,
) {
  const texts: Record<string, string | readonly string[]> = {};
  for (const [key, value] of Object.entries(flags)) {
    // `--socket-path --dump-only`: the value was forgotten, so the next flag was taken as the value.
    const taken = [value].flat().find((text) => text !== true && FLAGS.has(text));
    if (taken !== undefined) {
      throw new UsageError(`${table[key]?.flag ?? key} needs a value before ${taken}`);
    }
    texts[key] = value === true ? "true" : value;
  }
  return resolveOptions(table, texts, environment);
}

/** Every flag there is, long and short. */
const FLAGS: ReadonlySet<string> = new Set(
  [...Object.values(OPTIONS), ...Object.values(COMMANDS).flatMap(({ options }: Subcommand) => Object.values(options))]
    .flatMap(({ flag, short }: Option) => [flag ?? [], short ?? []].flat())
    .concat("--help", "-h", "--version", "-v", "-V"),
);

/** The forwarder's options mean nothing to a subcommand: better refused than ignored. */
function refuseFlags(program: Program, command: string): void {
  const key = Object.keys(program.opts())[0];
  if (key === undefined) return;
  const flag = (OPTIONS as Readonly<Record<string, Option>>)[key]?.flag ?? key;
  throw new UsageError(
    `${flag} before ${command} has no effect: see ${PROGRAM} ${command} --help for what it takes`,
  );
}

function addOptions(program: Program, table: Readonly<Record<string, Option>>): void {
  for (const option of Object.values(table)) {
    if (option.flag === undefined) continue;
    const added = new ProgramOption(flagsOf(option), describe(option));
    if (option.separator !== undefined) {
      added.argParser((value: string, earlier: readonly string[] = []) => [...earlier, value]);
    }
    program.addOption(added);
  }
}

function flagsOf(option: Option): string {
  const flags = option.short ? `${option.short}, ${option.flag}` : option.flag as string;
  return option.metavar === undefined ? flags : `${flags} <${option.metavar}>`;
}

/**
 * A flag as the help shows it: long flags in one column, short ones before it; no brackets, every value is required.
 */
function optionTerm(option: ProgramOption): string {
  const term = option.flags.replace(/<(.*)>/, "$1");
  return option.short ? term : `    ${term}`;
}

function describe(option: Option): string {
  const shown = option.defaultText ?? option.default;
  return shown === undefined ? option.help : `${option.help} (default: ${shown})`;
}

/** The environment's part of the help. @param helpWidth columns. */
function environmentHelp(helpWidth: number): string {
  const rows: [string, string][] = [];
  for (const option of Object.values(OPTIONS) as Option[]) {
    if (option.env === undefined) continue;
    for (const name of option.env) rows.push([name, option.flag ?? describe(option)]);
  }
  rows.push([
    "OTEL_EXPORTER_OTLP_*",
    "HEADERS, TIMEOUT, COMPRESSION, CERTIFICATE, CLIENT_KEY, CLIENT_CERTIFICATE",
  ]);
  const help = new Help();
  help.helpWidth = helpWidth;
  help.minWidthToWrap = LEAST_TEXT_WIDTH;
  const width = Math.max(...rows.map(([name]) => name.length));
  return [
    "Environment (a flag wins over it, an empty variable counts as unset):",
    help.formatItem(
      "KATA_TRACE_FORWARDER_*",
      width,
      "Any other option, for example KATA_TRACE_FORWARDER_SOCKET_PATH for --socket-path",
      help,
    ),
    ...rows.map(([name, text]) => help.formatItem(name, width, text, help)),
  ].join("\n");
}
