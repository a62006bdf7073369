import { hasQuotationMarks, QUOTATION_MARKS_PROBLEM } from "../base/quotation-marks.ts";
import { environmentNames, type Option } from "./option.ts";
import { UsageError } from "./values.ts";

/** The process's environment, or a test's. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What commander found: true for a switch, for any other option the text or texts that it was given. */
export type Flags = Readonly<Record<string, string | readonly string[] | true>>;

/** An option's checked value, and where it comes from. */
export interface OptionValue<Value> {
  readonly value: Value;
  readonly source: "flag" | "environment" | "default";
  /** What the user calls it: the flag, or the environment variable. */
  readonly name: string;
}

/** One value, or all values in their order. */
type ValueOf<Each extends Option> = Each extends { readonly separator: string } ? readonly ReturnType<Each["parse"]>[]
  : ReturnType<Each["parse"]>;

/** The values of a table of options. Those without a default may be absent. */
export type Resolved<Table extends Readonly<Record<string, Option>>> = {
  readonly [Key in keyof Table]:
    | OptionValue<ValueOf<Table[Key]>>
    | (Table[Key] extends { readonly default: string } ? never : undefined);
};

/**
 * Finds and checks each option's value: from its flag, or else its environment variable (an empty one counts as unset,
 * as OpenTelemetry has it), or else its default. Throws a `UsageError` that names the flag or variable at fault.
 */
export function resolveOptions<Table extends Readonly<Record<string, Option>>>(
  table: Table,
  flags: Readonly<Record<string, string | readonly string[]>>,
  environment: Environment,
): Resolved<Table> {
  const resolved: { [key: string]: OptionValue<unknown> | undefined } = {};
  for (const [key, option] of Object.entries(table)) {
    resolved[key] = resolveOption(option, flags[key], environment);
  }
  // The loop above gives each key the type that `Resolved` has for it.
  return resolved as Resolved<Table>;
}

function resolveOption(
  option: Option,
  flag: string | readonly string[] | undefined,
  environment: Environment,
): OptionValue<unknown> | undefined {
  if (flag !== undefined) return check(option, flag, "flag", option.flag as string);
  for (const name of environmentNames(option)) {
    const value = environment[name];
    if (value === undefined || value === "") continue;
    if (isOurs(name) && hasQuotationMarks(value)) throw new UsageError(`${name}: ${QUOTATION_MARKS_PROBLEM}`);
    const { separator } = option;
    const values = separator === undefined ? value : value.split(separator);
    return check(option, values, "environment", name);
  }
  if (option.default === undefined) return undefined;
  return check(option, option.default, "default", option.flag ?? "default");
}

/** Not a trace context: the specification wants an invalid one to be ignored. */
function isOurs(name: string): boolean {
  return /^(?:OTEL|KATA_TRACE_FORWARDER)_/.test(name);
}

function check(
  option: Option,
  value: string | readonly string[],
  source: OptionValue<unknown>["source"],
  name: string,
): OptionValue<unknown> {
  try {
    const parsed = typeof value === "string" ? option.parse(value) : value.map(option.parse);
    return { value: parsed, source, name };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${name}: ${error.message}`, { cause: error });
  }
}
