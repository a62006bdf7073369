import type { Declarations, ForeignFunctions, NativeFunctions } from "./library.ts";

/** An address, opaque in Deno. */
type DenoPointer = object | null;

/**
 * The part of Deno's API that is used here, because Deno's types are not installed. https://docs.deno.com/api/deno/ffi
 */
declare const Deno: {
  dlopen(
    name: string,
    symbols: { [name: string]: { parameters: readonly string[]; result: string } },
  ): { symbols: { [name: string]: unknown } };
  UnsafePointer: {
    of(buffer: Uint8Array): DenoPointer;
    value(pointer: DenoPointer): bigint;
    create(address: bigint): DenoPointer;
  };
  UnsafePointerView: { getArrayBuffer(pointer: DenoPointer, bytes: number): ArrayBuffer };
};

/** Deno's side of {@link ForeignFunctions}; whose names for the types are Deno's own. */
export const foreignFunctions: ForeignFunctions = {
  open<const D extends Declarations>(name: string, declarations: D): NativeFunctions<D> {
    // The symbols have the types of the declarations, which the compiler cannot see.
    return Deno.dlopen(name, declarations).symbols as unknown as NativeFunctions<D>;
  },
  addressOf: (buffer) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer)),
  view: (address, bytes) => Deno.UnsafePointerView.getArrayBuffer(Deno.UnsafePointer.create(address), bytes),
};
