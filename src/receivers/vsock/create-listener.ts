import type { ListenSettings } from "../../pipeline/settings.ts";
import type { ListenerOptions } from "./guest-server.ts";
import { HybridListener } from "./hybrid-listener.ts";
import { type Listener, ListenError } from "./listener.ts";
import { type ListenerEntry, Listeners } from "./listeners.ts";
import { templateAddress, type TemplateSettings } from "./sandbox-template.ts";
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
  const entries: ListenerEntry[] = here.map((each) => ({
    listener: createOne(each, options),
    optional: each.kind !== "hybrid" && each.optional === true,
  }));
  if (forTemplates !== undefined) entries.push({ listener: forTemplates, optional: false });
  const [first] = entries;
  return entries.length === 1 && first !== undefined ? first.listener : new Listeners(entries, options);
}

function createOne(settings: ListenSettings, options: ListenerOptions): Listener {
  switch (settings.kind) {
    case "vsock":
      return new VsockListener(settings, options);
    case "hybrid":
      return new HybridListener(settings, options);
    case "template":
      if (settings.perUser === true) return new RootOnlyListener(settings);
      return new TemplateListener(settings, options);
  }
}

/** Sockets in directories of several users, which only root can make. */
class RootOnlyListener implements Listener {
  readonly address: string;

  constructor(settings: TemplateSettings) {
    this.address = templateAddress(settings);
  }

  listen(): Promise<void> {
    const message = `cannot listen at ${this.address}: only root can make sockets for several users' VMMs: run as root`;
    return Promise.reject(new ListenError(message, { absent: true }));
  }

  stopAccepting(): Promise<void> {
    return Promise.resolve();
  }

  handOver(): void {}
  cleanUp(): void {}
}
