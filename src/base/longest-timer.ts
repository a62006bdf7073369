/**
 * The longest that a timer can be set for, milliseconds. One that is set for longer fires at once
 * (https://html.spec.whatwg.org/multipage/timers-and-user-prompts.html: a signed 32-bit integer).
 */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;
