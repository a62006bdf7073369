import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

/**
 * Runs `body` with just these `OTEL_*` variables, `OTEL_EXPORTER_OTLP_` put before each name, and puts the environment
 * back afterwards.
 */
export async function withEnvironment<T>(
  variables: Readonly<Record<string, string>>,
  body: () => T | Promise<T>,
): Promise<T> {
  const before = { ...process.env };
  const isOurs = (name: string): boolean => name.startsWith("OTEL_");
  const clear = (): void => {
    for (const name of Object.keys(process.env).filter(isOurs)) delete process.env[name];
  };
  clear();
  for (const [name, value] of Object.entries(variables)) {
    process.env[`OTEL_EXPORTER_OTLP_${name}`] = value;
  }
  try {
    return await body();
  } finally {
    clear();
    for (const name of Object.keys(before).filter(isOurs)) process.env[name] = before[name];
  }
}

/** Runs `body` with files of these names and contents; it gets the path of each. */
export async function withFiles<Name extends string, T>(
  files: Readonly<Record<Name, string>>,
  body: (paths: Readonly<Record<Name, string>>) => Promise<T>,
): Promise<T> {
  using temporary = temporaryDirectory();
  const directory = temporary.path;
  const paths: Partial<Record<Name, string>> = {};
  for (const name of Object.keys(files) as Name[]) {
    writeFileSync(paths[name] = join(directory, name), files[name]);
  }
  return await body(paths as Record<Name, string>);
}
