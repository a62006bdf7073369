/**
 * What the runtime would do with a variable, by its name. The build replaces Bun's names wherever they stand in the
 * executable, so here they must not stand as they are.
 */
const REFUSED: readonly { readonly name: RegExp; readonly value: RegExp; readonly effect: string }[] = [
  { name: /^B[U]N_OPTIONS$/, value: /./, effect: "makes the runtime load other code" },
  { name: /^B[U]N_BE_BUN$/, value: /./, effect: "makes this program another one" },
  { name: /^B[U]N_INSPECT/, value: /./, effect: "opens a debugger, which can run any code" },
  { name: /^NODE_TLS_REJECT_UNAUTHORIZED$/, value: /^0$/, effect: "is meant to turn the check of certificates off" },
];

/**
 * The first variable of the runtime that must not be set, with the reason. Undefined if there is none. A service that
 * starts as root must do what its options say, and nothing else.
 */
export function refusedVariable(environment: Readonly<Record<string, string | undefined>>): string | undefined {
  for (const [variable, value = ""] of Object.entries(environment)) {
    const refused = REFUSED.find(({ name, value: pattern }) => name.test(variable) && pattern.test(value));
    if (refused !== undefined) return `${variable} ${refused.effect}: unset it`;
  }
  return undefined;
}
