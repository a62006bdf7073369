import { initialize } from "./memory";

export { decodeBincode, decodeFrames, decodeJson } from "./frames";
export { decodeJsonText } from "./json";
export { decodeOtlp } from "./otlp";

initialize();
