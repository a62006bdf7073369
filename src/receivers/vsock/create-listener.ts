import type { ListenSettings } from "../../pipeline/settings.ts";
import type { ListenerOptions } from "./guest-server.ts";
import { HybridListener } from "./hybrid-listener.ts";
import type { Listener } from "./listener.ts";
import { Listeners, type Part } from "./listeners.ts";
import { TemplateListener } from "./template-listener.ts";
import { VsockListener } from "./vsock-listener.ts";

/**
 * The listener that the settings ask for, one for all of them. Nothing is opened yet.
 *
 * @param forTemplates listens for all templates, if that takes another process. Default: each is listened for here.
 */
export function createListener(
  settings: readonly [ListenSettings, ...ListenSettings[]],
  options: ListenerOptions,
  forTemplates?: Listener,
): Listener {
  const here = settings.filter(({ kind }) => kind !== "template" || forTemplates === undefined);
  const parts: Part[] = here.map((each) => ({
    listener: createOne(each, options),
    optional: each.kind !== "hybrid" && each.optional === true,
  }));
  if (forTemplates !== undefined) parts.push({ listener: forTemplates, optional: false });
  const [first] = parts;
  return parts.length === 1 && first !== undefined ? first.listener : new Listeners(parts, options);
}

function createOne(settings: ListenSettings, options: ListenerOptions): Listener {
  switch (settings.kind) {
    case "vsock":
      return new VsockListener(settings, options);
    case "hybrid":
      return new HybridListener(settings, options);
    case "template":
      return new TemplateListener(settings, options);
  }
}
