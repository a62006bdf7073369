/** A timer that has been set. */
export interface PendingTimer {
  readonly kind: "setTimeout" | "setInterval";
  /** Milliseconds. */
  readonly delayMs: number;
  /** Where it was set. */
  readonly stack: string;
}

/** Timers that have been set and neither fired nor been cleared. */
export interface PendingTimers extends Disposable {
  list(): readonly PendingTimer[];
}

/**
 * From now on notes each timer that is set through the global functions. What a runtime sets for itself is not among
 * them.
 */
export function watchTimers(): PendingTimers {
  const { setTimeout, setInterval, clearTimeout, clearInterval } = globalThis;
  const pending = new Map<unknown, PendingTimer>();
  const note = (timer: unknown, kind: PendingTimer["kind"], delayMs: number): void => {
    pending.set(timer, { kind, delayMs, stack: new Error().stack ?? "" });
  };
  const clear = (timer: Parameters<typeof clearTimeout>[0]): void => {
    pending.delete(timer);
    clearTimeout(timer);
  };
  const replacements = {
    setTimeout: (run: (...args: unknown[]) => void, delayMs = 0, ...args: unknown[]) => {
      const timer = setTimeout(() => {
        pending.delete(timer);
        run(...args);
      }, delayMs);
      note(timer, "setTimeout", delayMs);
      return timer;
    },
    setInterval: (run: (...args: unknown[]) => void, delayMs = 0, ...args: unknown[]) => {
      const timer = setInterval(run, delayMs, ...args);
      note(timer, "setInterval", delayMs);
      return timer;
    },
    clearTimeout: clear,
    clearInterval: clear,
  };
  Object.assign(globalThis, replacements);
  return {
    list: () => [...pending.values()],
    [Symbol.dispose]: () => void Object.assign(globalThis, { setTimeout, setInterval, clearTimeout, clearInterval }),
  };
}
