import { loadLibc } from "../../../ffi/libc.ts";
import type { ListenSettings } from "../../pipeline/settings.ts";
import { ListenError } from "./listener.ts";
import { groupNumber } from "./socket-file.ts";

/** The privileges of root that listening needs after the start, see `RetainedPrivileges`. */
export async function privilegesToRetain(
  listen: readonly ListenSettings[],
): Promise<{ readonly directories: boolean; readonly groups: readonly number[] }> {
  const groups = new Set<number>();
  let directories = false;
  for (const settings of listen) {
    if (settings.kind !== "template") continue;
    directories = true;
    if (settings.group === undefined) continue;
    const gid = groupNumber(await loadLibc(), settings.group);
    if (gid === undefined) {
      throw new ListenError(`there is no group "${settings.group}": check --socket-group`);
    }
    groups.add(gid);
  }
  return { directories, groups: [...groups] };
}
