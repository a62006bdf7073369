/**
 * Whether a value of the environment has quotation marks around it. `docker --env-file`, Kubernetes and the lists of
 * compose files keep those that somebody wrote for a shell, and they are never meant.
 */
export function hasQuotationMarks(value: string): boolean {
  return /^\s*(["']).*\1\s*$/s.test(value) && value.trim().length > 1;
}

/** What to say of such a value; the name of its variable comes before. It is not shown, as it may be a token. */
export const QUOTATION_MARKS_PROBLEM = "the value has quotation marks around it, which would be taken as part of it: " +
  "leave them out";
