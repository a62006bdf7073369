import { hasQuotationMarks, QUOTATION_MARKS_PROBLEM } from "../base/quotation-marks.ts";
import { environmentNames, type Option } from "./option.ts";
import { UsageError } from "./values.ts";

/** The process's environment, or a test's. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What commander found: a switch is true, any other option the text it was given, or each of them. */
export type Flags = Readonly<Record<string, string | readonly string[] | true>>;

/** An option's checked value, and who gave it. */
export interface Given<Value> {
  readonly value: Value;
  readonly source: "flag" | "environment" | "default";
  /** What the user calls it: the flag, or the environment variable. */
  readonly name: string;
}

/** One value, or all of them in their order. */
type ValueOf<Each extends Option> = Each extends { readonly separator: string } ? readonly ReturnType<Each["parse"]>[]
  : ReturnType<Each["parse"]>;

/** What became of a table of options: those without a default may be absent. */
export type Resolved<Table extends Readonly<Record<string, Option>>> = {
  readonly [Key in keyof Table]:
    | Given<ValueOf<Table[Key]>>
    | (Table[Key] extends { readonly default: string } ? never : undefined);
};

/**
 * Finds each option's value: its flag, else its environment variable (an empty one counts as unset, as OpenTelemetry
 * says), else its default; and checks it. Throws a `UsageError` that names the flag or variable at fault.
 */
export function resolveOptions<Table extends Readonly<Record<string, Option>>>(
  table: Table,
  flags: Readonly<Record<string, string | readonly string[]>>,
  environment: Environment,
): Resolved<Table> {
  const resolved: { [key: string]: Given<unknown> | undefined } = {};
  for (const [key, option] of Object.entries(table)) {
    resolved[key] = resolveOption(option, flags[key], environment);
  }
  // The loop above does for each key what `Resolved` says of it.
  return resolved as Resolved<Table>;
}

function resolveOption(
  option: Option,
  flag: string | readonly string[] | undefined,
  environment: Environment,
): Given<unknown> | undefined {
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

/** A trace context is left to its own reader: the specification wants an invalid one to be ignored. */
function isOurs(name: string): boolean {
  return /^(?:OTEL|KATA_TRACE_FORWARDER)_/.test(name);
}

function check(
  option: Option,
  value: string | readonly string[],
  source: Given<unknown>["source"],
  name: string,
): Given<unknown> {
  try {
    const parsed = typeof value === "string" ? option.parse(value) : value.map(option.parse);
    return { value: parsed, source, name };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${name}: ${error.message}`, { cause: error });
  }
}
