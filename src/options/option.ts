/** What a shell suggests for an option's value. */
export type Completion = readonly string[] | "file" | "directory" | "user" | "group";

/**
 * One option. The command line, the environment, the help, the completions and the documentation are all made from
 * this.
 */
export interface Option {
  /** The long flag; absent if there is only an environment variable. */
  readonly flag?: `--${string}`;
  readonly short?: `-${string}`;
  /** What the help calls the value; absent for a switch, which takes none. */
  readonly metavar?: string;
  /**
   * The environment variables that set it, of which the first one wins; absent: `KATA_TRACE_FORWARDER_` and the flag's
   * name.
   */
  readonly env?: readonly string[];
  /** If present, the option may be given several times, and its variable has several values with this between them. */
  readonly separator?: string;
  /** As a user would write it; absent: there is none, or it depends on other options (see `defaultText`). */
  readonly default?: string;
  /** The default in words, if `default` cannot say it. */
  readonly defaultText?: string;
  /** One sentence, without a full stop. */
  readonly help: string;
  readonly complete?: Completion;
  /** Checks a value. Throws a `UsageError` whose message continues the option's name. */
  readonly parse: (value: string) => unknown;
}

/** A command line that shows what a command is for. */
export interface Example {
  /** What it does: a sentence without a full stop. */
  readonly does: string;
  /** Everything after the program's name. */
  readonly words: string;
}

/** The environment variables that set an option, of which the first one wins. */
export function environmentNames(option: Option): readonly string[] {
  if (option.env !== undefined) return option.env;
  const name = (option.flag as string).slice(2).replaceAll("-", "_").toUpperCase();
  return [`KATA_TRACE_FORWARDER_${name}`];
}
