import process from "node:process";

/** The command line that runs this program: the executable alone, or the runtime with the script. */
export function ownCommand(): string[] {
  const { execPath, argv, execArgv } = process;
  const script = argv[1];
  // The compiled executable's script is inside of it.
  const isCompiled = script === undefined || script.startsWith("/$bunfs/") || script === execPath;
  if (isCompiled) return [execPath];
  const deno = "Deno" in globalThis ? ["run", "--no-check", "--unstable-vsock", "--allow-all"] : execArgv;
  return [execPath, ...deno, script];
}
