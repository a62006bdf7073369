/** What a shell offers for an option's value. */
export type Completion = readonly string[] | "file" | "directory" | "user" | "group";

/**
 * One option. The command line, the environment, the help, the shells' completions and the documentation are all
 * made from this.
 */
export interface Option {
  /** The long flag; absent where there is only the environment variable. */
  readonly flag?: `--${string}`;
  readonly short?: `-${string}`;
  /** What the value is called in the help; absent for a switch, which takes none. */
  readonly metavar?: string;
  /**
   * The environment variables that stand for it, the first wins; absent: `KATA_TRACE_FORWARDER_` and the flag's name.
   */
  readonly env?: readonly string[];
  /** It may be given several times; its variable then holds several values with this between them. */
  readonly separator?: string;
  /** As one would write it; absent: nothing, or decided by other options (see `defaultText`). */
  readonly default?: string;
  /** The default in words, where `default` does not say it. */
  readonly defaultText?: string;
  /** One sentence, no full stop at the end. */
  readonly help: string;
  readonly complete?: Completion;
  /** Checks a value. Throws a `UsageError` whose message continues the option's name. */
  readonly parse: (value: string) => unknown;
}

/** The environment variables that stand for an option, the first wins. */
export function environmentNames(option: Option): readonly string[] {
  if (option.env !== undefined) return option.env;
  const name = (option.flag as string).slice(2).replaceAll("-", "_").toUpperCase();
  return [`KATA_TRACE_FORWARDER_${name}`];
}
