import { errnoName } from "../../../ffi/errors.ts";

/** The errno's name that an action fails with; "done" if it does not. */
export function attempt(action: () => unknown): string {
  try {
    action();
    return "done";
  } catch (error) {
    return errnoName(error) ?? String(error);
  }
}
