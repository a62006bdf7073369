/**
 * Shared libraries behind one interface: `library.bun.ts` and `library.deno.ts` are its two sides, chosen here.
 *
 * Only for 64-bit machines, which are all that either runtime supports.
 */

/**
 * A C type, by its width. `buffer` is a pointer to a buffer's first byte (null: a null pointer), `u64` also a pointer
 * or a `size_t`.
 */
export type NativeType = "i32" | "u32" | "i64" | "u64" | "buffer";

/** What stands for each type in JavaScript. */
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

/** What a function takes, in JavaScript. */
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
  /** Memory that C owns, as a view: reads and writes go straight to it. */
  view(address: bigint, bytes: number): ArrayBuffer;
}

/** The foreign function interface of the runtime that runs this. */
export async function loadForeignFunctions(): Promise<ForeignFunctions> {
  const { foreignFunctions } = "Bun" in globalThis
    ? await import("./library.bun.ts")
    : await import("./library.deno.ts");
  return foreignFunctions;
}
