import type { Completion, Option } from "./option.ts";
import { COMMANDS, COMPLETION_SHELLS, OPTIONS, PROGRAM, type Subcommand } from "./table.ts";

export { COMPLETION_SHELLS };
export type CompletionShell = (typeof COMPLETION_SHELLS)[number];

/** An option with a flag, which is what a shell can complete. */
type Flagged = Option & { readonly flag: string };

const HELP: Flagged = { flag: "--help", short: "-h", help: "Show this help", parse: String };
const VERSION: Flagged = {
  flag: "--version",
  short: "-v",
  help: COMMANDS.version.help,
  parse: String,
};
const MAIN_FLAGS = [...flagged(OPTIONS), HELP, VERSION];
const SUBCOMMANDS: readonly (Subcommand & { readonly name: string; readonly flags: readonly Flagged[] })[] = Object
  .entries(COMMANDS).map(([name, command]: [string, Subcommand]) => {
    const flags = flagged(command.options);
    return { ...command, name, flags: flags.length === 0 ? [] : [...flags, HELP] };
  });

/** A script that a shell loads to complete the program's commands, flags and values. */
export function completionScript(shell: CompletionShell): string {
  switch (shell) {
    case "bash":
      return bashScript();
    case "zsh":
      return zshScript();
    case "fish":
      return fishScript();
  }
}

function flagged(table: Readonly<Record<string, Option>>): Flagged[] {
  return Object.values(table).filter((option): option is Flagged => option.flag !== undefined);
}

function names(option: Flagged): string[] {
  return option.short === undefined ? [option.flag] : [option.short, option.flag];
}

/** https://www.gnu.org/software/bash/manual/html_node/Programmable-Completion.html */
function bashScript(): string {
  const commands = Object.keys(COMMANDS);
  const valued = [...MAIN_FLAGS, ...SUBCOMMANDS.flatMap(({ flags }) => flags)]
    .filter((option) => option.metavar !== undefined);
  return `# bash completion for ${PROGRAM}: source it, or save it as
# ~/.local/share/bash-completion/completions/${PROGRAM}
_kata_trace_forwarder_offer() { mapfile -t COMPREPLY < <(compgen "$@" -- "$current"); }
_kata_trace_forwarder() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command= skip= word
  # bash splits --flag=value into three words.
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]]; then
    previous=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ $word == = ]]; then skip=1; continue; fi
    if [[ $skip ]]; then skip=; continue; fi
    case $word in
      ${[...new Set(valued.flatMap(names))].join("|")}) skip=1 ;;
      ${commands.join("|")}) command=$word; break ;;
    esac
  done
  COMPREPLY=()
  case $command in
${SUBCOMMANDS.map(({ name, flags, operands }) => `    ${name})\n${bashCases(flags, operands)}\n      ;;`).join("\n")}
    *)
${bashCases(MAIN_FLAGS, commands)}
      ;;
  esac
}
complete -F _kata_trace_forwarder ${PROGRAM}
`;
}

/** What to offer behind each flag that takes a value; behind anything else, the flags and the operands. */
function bashCases(options: readonly Flagged[], operands: Subcommand["operands"] = []): string {
  const flagsOf = new Map<string, string[]>();
  for (const option of options) {
    if (option.metavar === undefined) continue;
    const action = bashAction(option.complete);
    flagsOf.set(action, [...flagsOf.get(action) ?? [], ...names(option)]);
  }
  const lines = ["case $previous in"];
  for (const [action, flags] of flagsOf) lines.push(`  ${flags.join("|")}) ${action} ;;`);
  const words = operands === "file" ? [] : operands;
  const others = [...options.flatMap(names), ...words].join(" ");
  const files = operands === "file" ? "compopt -o filenames 2>/dev/null; " : "";
  lines.push(`  *) ${files}_kata_trace_forwarder_offer ${operands === "file" ? "-f " : ""}-W '${others}' ;;`, "esac");
  return lines.map((line) => `      ${line}`).join("\n");
}

function bashAction(complete: Completion | undefined): string {
  if (complete === undefined) return ":";
  if (typeof complete !== "string") return `_kata_trace_forwarder_offer -W '${complete.join(" ")}'`;
  const action = { file: "-f", directory: "-d", user: "-u", group: "-g" }[complete];
  const isPath = complete === "file" || complete === "directory";
  // compopt fails where no completion runs, as in a test.
  const filenames = isPath ? "compopt -o filenames 2>/dev/null; " : "";
  return `${filenames}_kata_trace_forwarder_offer ${action}`;
}

/** https://zsh.sourceforge.io/Doc/Release/Completion-System.html, `_arguments` */
function zshScript(): string {
  const specs = (options: readonly Flagged[], indent: string) =>
    options.flatMap((option) => names(option).map((name) => zshSpec(option, name)))
      .map((spec) => `${indent}${spec} \\\n`).join("");
  const commands = Object.entries(COMMANDS)
    .map(([name, { help }]) => `${name}\\:${zshQuoted(`"${help}"`, /[:\\]/g)}`).join(" ");
  return `#compdef ${PROGRAM}
# zsh completion for ${PROGRAM}: source it, or save it as _${PROGRAM} in a folder of $fpath.
_${PROGRAM}() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -C -S \\
${specs(MAIN_FLAGS, "    ")}    '1:command:((${commands}))' \\
    '*::argument:->argument'
  [[ $state == argument ]] || return
  case $line[1] in
${
    SUBCOMMANDS.map(({ name, flags, operands }) => {
      return `    ${name})\n      _arguments -S \\\n${specs(flags, "        ")}        ${
        zshOperands(operands)
      }&& return\n      ;;`;
    }).join("\n")
  }
  esac
}
if [[ $funcstack[1] == _${PROGRAM} ]]; then
  _${PROGRAM} "$@"
else
  compdef _${PROGRAM} ${PROGRAM}
fi
`;
}

function zshOperands(operands: Subcommand["operands"]): string {
  if (operands === undefined) return "";
  return operands === "file" ? "'*:file:_files' " : `'1:word:(${operands.join(" ")})' `;
}

function zshSpec(option: Flagged, name: string): string {
  const others = names(option).length > 1 ? `(${names(option).join(" ")})` : "";
  const help = zshQuoted(option.help, /[[\]:\\]/g);
  if (option.metavar === undefined) return `'${others}${name}[${help}]'`;
  // `=`: the value follows in the same word or the next; `+`: the same for a short flag, without the `=`.
  const separator = name.startsWith("--") ? "=" : "+";
  // `*`: may be given again.
  const repeated = option.separator === undefined ? "" : "*";
  return `'${others}${repeated}${name}${separator}[${help}]:${option.metavar}:${zshAction(option.complete)}'`;
}

function zshAction(complete: Completion | undefined): string {
  if (complete === undefined) return "( )";
  if (typeof complete !== "string") return `(${complete.join(" ")})`;
  return { file: "_files", directory: "_files -/", user: "_users", group: "_groups" }[complete];
}

/** Text within a single-quoted word, where `special` is escaped for the shell that reads the word. */
function zshQuoted(text: string, special: RegExp): string {
  return text.replace(special, "\\$&").replaceAll("'", "'\\''");
}

/** https://fishshell.com/docs/current/cmds/complete.html */
function fishScript(): string {
  const lines = [
    `# fish completion for ${PROGRAM}: source it, or save it as`,
    `# ~/.config/fish/completions/${PROGRAM}.fish`,
    `complete -c ${PROGRAM} -f`,
  ];
  const add = (condition: string, rest: string) =>
    lines.push(`complete -c ${PROGRAM} -n ${fishQuoted(condition)} ${rest}`);
  for (const option of MAIN_FLAGS) add("__fish_use_subcommand", fishOption(option));
  for (const [name, { help }] of Object.entries(COMMANDS)) {
    add("__fish_use_subcommand", `-a ${name} -d ${fishQuoted(help)}`);
  }
  for (const { name, flags, operands } of SUBCOMMANDS) {
    const seen = `__fish_seen_subcommand_from ${name}`;
    for (const option of flags) add(seen, fishOption(option));
    if (operands === "file") add(seen, "-F");
    else if (operands !== undefined) add(seen, `-a '${operands.join(" ")}'`);
  }
  return `${lines.join("\n")}\n`;
}

function fishOption(option: Flagged): string {
  const short = option.short === undefined ? "" : ` -s ${option.short.slice(1)}`;
  const value = option.metavar === undefined ? "" : ` ${fishAction(option.complete)}`;
  return `-l ${option.flag.slice(2)}${short}${value} -d ${fishQuoted(option.help)}`;
}

function fishAction(complete: Completion | undefined): string {
  if (complete === undefined) return "-x";
  if (typeof complete !== "string") return `-x -a '${complete.join(" ")}'`;
  return {
    file: "-r -F",
    directory: "-x -a '(__fish_complete_directories)'",
    user: "-x -a '(__fish_complete_users)'",
    group: "-x -a '(__fish_complete_groups)'",
  }[complete];
}

function fishQuoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
