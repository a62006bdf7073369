import process from "node:process";

/** Runs `body` with these variables, and restores the environment afterwards. */
export async function withVariables<Result>(
  variables: Readonly<Record<string, string>>,
  body: () => Promise<Result>,
): Promise<Result> {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    return await body();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}
