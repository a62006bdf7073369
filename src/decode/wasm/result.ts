import { RESULT } from "./memory";

/** Tells the caller where the span and the resource lie. */
export function tell(span: usize, spanEnd: usize, resource: usize, resourceEnd: usize): void {
  store<u32>(RESULT, <u32> span);
  store<u32>(RESULT, <u32> spanEnd, 4);
  store<u32>(RESULT, <u32> resource, 8);
  store<u32>(RESULT, <u32> resourceEnd, 12);
}
