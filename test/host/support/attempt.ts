import { errnoName } from "../../../ffi/errors.ts";

/** The name of the errno that an action fails with, or "done" if it does not fail. */
export function attempt(action: () => unknown): string {
  try {
    action();
    return "done";
  } catch (error) {
    return errnoName(error) ?? String(error);
  }
}
