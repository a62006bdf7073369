import text from "./dist/THIRD-PARTY-NOTICES.txt" with { type: "text" };

/** The licences of everything in the executable; `scripts/build` writes them. */
export const THIRD_PARTY_NOTICES: string = String(text);
