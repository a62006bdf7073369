/**
 * How large what many spans share may be, their resource or their scope: bytes. Real ones have some hundred. Delivery
 * repeats it in each batch, so without a bound one payload could become a hundred times as much.
 */
export const MAX_SHARED_BYTES: number = 64 * 1024;

/**
 * How much that would be if each span had its own copy, bytes: four times what a whole request of the largest size
 * (4 MiB) has. That is what `--dump-only` prints of it; without a bound one payload could become gigabytes.
 */
export const MAX_REPEATED_BYTES: number = 16 * 1024 * 1024;
