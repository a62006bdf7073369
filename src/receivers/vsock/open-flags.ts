import process from "node:process";

/**
 * Flags of open(2). Numbers differ by architecture (include/uapi/asm-generic/fcntl.h,
 * arch/arm64/include/uapi/asm/fcntl.h); they stand here because a wrong one, unlike a missing one, would go unnoticed.
 */
export const O_DIRECTORY: number = process.arch === "arm64" ? 0o40000 : 0o200000;
export const O_NOFOLLOW: number = process.arch === "arm64" ? 0o100000 : 0o400000;
/** Neither reads nor writes, so that it needs no permission for the file itself. */
export const O_PATH = 0o10000000;
export const O_CLOEXEC = 0o2000000;
/** The working directory; openat(2). */
export const AT_FDCWD = -100;
