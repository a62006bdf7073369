import type { ListenSettings } from "../settings.ts";
import type { ListenerOptions } from "./guest-server.ts";
import { HybridListener } from "./hybrid-listener.ts";
import type { Listener } from "./listener.ts";
import { VsockListener } from "./vsock-listener.ts";

/** The listener that the settings ask for. Nothing is opened yet. */
export function createListener(settings: ListenSettings, options: ListenerOptions): Listener {
  return settings.kind === "vsock"
    ? new VsockListener(settings, options)
    : new HybridListener(settings, options);
}
