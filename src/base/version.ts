// `scripts/build` defines these. A run from source has neither.
declare const BUILD_VERSION: string;
declare const BUILD_COMMIT: string;

/** The release, as in package.json. */
export const VERSION: string = typeof BUILD_VERSION === "string" ? BUILD_VERSION : "0.1.0";
/** The commit that the executable was built from. */
export const COMMIT: string = typeof BUILD_COMMIT === "string" ? BUILD_COMMIT : "source";
