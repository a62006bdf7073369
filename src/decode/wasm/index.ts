import { initialize } from "./memory";

export { decodeBincode } from "./bincode";
export { decodeJson, decodeJsonText } from "./json";
export { decodeOtlp } from "./otlp";

initialize();
