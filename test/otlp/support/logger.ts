import { createLogger, type LogFields, type Logger, type LogLevel } from "../../../src/log.ts";

/** One record, short: `level message`. */
export interface RecordingLogger extends Logger {
  readonly records: readonly { level: LogLevel; message: string; fields: LogFields | undefined }[];
}

/** A log that keeps its records. */
export function recordingLogger(): RecordingLogger {
  const records: { level: LogLevel; message: string; fields: LogFields | undefined }[] = [];
  const log = (level: LogLevel, message: string, fields?: LogFields): void => {
    records.push({ level, message, fields });
  };
  const logger = createLogger({
    level: "critical",
    format: "json",
    colour: false,
    write: () => {},
  });
  return {
    ...logger,
    records,
    log,
    debug: (message, fields) => log("debug", message, fields),
    info: (message, fields) => log("info", message, fields),
    warn: (message, fields) => log("warn", message, fields),
    error: (message, fields) => log("error", message, fields),
  };
}
