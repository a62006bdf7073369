/**
 * Whether a value of the environment has quotation marks around it. `docker --env-file`, Kubernetes and lists in
 * compose files keep the ones that somebody wrote for a shell, although they are never meant.
 */
export function hasQuotationMarks(value: string): boolean {
  return /^\s*(["']).*\1\s*$/s.test(value) && value.trim().length > 1;
}

/** What an error says about such a value, after its variable's name. The value is not shown, as it may be a token. */
export const QUOTATION_MARKS_PROBLEM = "the value has quotation marks around it, which would be taken as part of it: " +
  "leave them out";
