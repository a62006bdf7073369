import type { ListenSettings } from "../../pipeline/settings.ts";
import type { ListenerOptions } from "./guest-server.ts";
import { HybridListener } from "./hybrid-listener.ts";
import type { Listener } from "./listener.ts";
import { Listeners } from "./listeners.ts";
import { TemplateListener } from "./template-listener.ts";
import { VsockListener } from "./vsock-listener.ts";

/** The listener that the settings ask for, one for all of them. Nothing is opened yet. */
export function createListener(
  [first, ...others]: readonly [ListenSettings, ...ListenSettings[]],
  options: ListenerOptions,
): Listener {
  if (others.length === 0) return createOne(first, options);
  const parts = [first, ...others].map((settings) => ({
    listener: createOne(settings, options),
    optional: settings.kind !== "hybrid" && settings.optional === true,
  }));
  return new Listeners(parts, options);
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
