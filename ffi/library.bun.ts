import { dlopen, ptr, toArrayBuffer } from "bun:ffi";
import type { Declarations, ForeignFunctions, NativeFunctions, NativeType } from "./library.ts";

/** Bun's names where they differ. Bun's `i64` and `u64` come back as bigint, unlike its `i64_fast`. */
const BUN_TYPES = { i32: "i32", u32: "u32", i64: "i64", u64: "u64", buffer: "ptr" } as const;

function bunType(type: NativeType): (typeof BUN_TYPES)[NativeType] {
  return BUN_TYPES[type];
}

/** Bun's side of {@link ForeignFunctions}. https://bun.com/docs/runtime/ffi */
export const foreignFunctions: ForeignFunctions = {
  open<const D extends Declarations>(name: string, declarations: D): NativeFunctions<D> {
    const symbols = Object.fromEntries(
      Object.entries(declarations).map(([symbol, declaration]) => [
        symbol,
        { args: declaration.parameters.map(bunType), returns: bunType(declaration.result) },
      ]),
    );
    // The names and types come from the declarations, which the compiler cannot see.
    return dlopen(name, symbols).symbols as unknown as NativeFunctions<D>;
  },
  addressOf: (buffer) => BigInt(ptr(buffer)),
  view: (address, bytes) => toArrayBuffer(address, 0, bytes),
};
