import type { Logger } from "../base/log.ts";
import type { HelperProcess } from "../helper/helper-process.ts";
import { RootFiles } from "../helper/root-files.ts";
import type { Settings } from "../pipeline/settings.ts";
import { PodFinder } from "../receivers/pods/pod-finder.ts";

/**
 * Finds the pods of sandboxes, if the settings ask for that.
 *
 * @param helper reads what this process may not; undefined if there is none.
 */
export function openPods(
  { kubernetesMetadata }: Settings,
  helper: HelperProcess | undefined,
  log: Logger,
): PodFinder | undefined {
  if (kubernetesMetadata === "off") return undefined;
  const isAskedFor = kubernetesMetadata === "on";
  let problem = "";
  return new PodFinder({
    files: new RootFiles(helper),
    onProblem: (message, error) => {
      // It is mostly the same for each sandbox.
      if (problem === message) return;
      problem = message;
      log.log(isAskedFor ? "warn" : "info", message, { error });
    },
    onAbsent: (sandbox) => log.log(isAskedFor ? "warn" : "debug", "no pod was found for a sandbox", { sandbox }),
  });
}
