/**
 * Shared libraries behind one interface, which `library.bun.ts` and `library.deno.ts` implement.
 *
 * Only for 64-bit machines, because neither runtime supports others.
 */

/**
 * A C type, by its width. `buffer` is a pointer to a buffer's first byte, or a null pointer for null. `u64` is also a
 * pointer or a `size_t`.
 */
export type NativeType = "i32" | "u32" | "i64" | "u64" | "buffer";

/** The JavaScript type for each of them. */
interface JavaScriptTypes {
  readonly i32: number;
  readonly u32: number;
  readonly i64: bigint;
  readonly u64: bigint;
  readonly buffer: Uint8Array | null;
}

/** A function's declaration, as the C header has it. */
export interface NativeFunction {
  readonly parameters: readonly NativeType[];
  readonly result: Exclude<NativeType, "buffer">;
}

/** Declarations by the function's name. */
export type Declarations = { readonly [name: string]: NativeFunction };

/** A function's arguments in JavaScript. */
type Arguments<Parameters extends readonly NativeType[]> = {
  -readonly [Index in keyof Parameters]: JavaScriptTypes[Parameters[Index]];
};

/** Declarations turned into functions. */
export type NativeFunctions<D extends Declarations> = {
  readonly [Name in keyof D]: (
    ...args: Arguments<D[Name]["parameters"]>
  ) => JavaScriptTypes[D[Name]["result"]];
};

/** A runtime's foreign function interface. Calls are synchronous, on the calling thread. */
export interface ForeignFunctions {
  /** Opens a library by the name that the dynamic linker knows. Throws the runtime's own error. */
  open<const D extends Declarations>(name: string, declarations: D): NativeFunctions<D>;
  /**
   * The address of a buffer's first byte, for pointers inside structures. The buffer must be backed by its own
   * `ArrayBuffer` (such memory does not move) and must be reachable for as long as C uses the address.
   */
  addressOf(buffer: Uint8Array<ArrayBuffer>): bigint;
  /** A view of memory that C owns. Reads and writes go straight to it. */
  view(address: bigint, bytes: number): ArrayBuffer;
}

/** The foreign function interface of the runtime that runs this. */
export async function loadForeignFunctions(): Promise<ForeignFunctions> {
  const { foreignFunctions } = "Bun" in globalThis
    ? await import("./library.bun.ts")
    : await import("./library.deno.ts");
  return foreignFunctions;
}
