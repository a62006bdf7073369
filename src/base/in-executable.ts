/** Where Bun's compiled executables have their modules, which is not on any disk. */
const MODULES = "/$bunfs/";

/** Whether a module is inside the compiled executable. @param module its `import.meta.url`, or what lies beside it. */
export function isInExecutable(module: string | URL): boolean {
  return new URL(module).pathname.startsWith(MODULES);
}
