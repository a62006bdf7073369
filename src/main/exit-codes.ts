/** The process's exit codes, which users' scripts read. */
export const EXIT = { clean: 0, failedStart: 1, lost: 2 } as const;
