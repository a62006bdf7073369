import type { LogFields, Logger, LogLevel } from "../../src/base/log.ts";

/** A log whose records can be looked at. */
export interface RecordingLogger extends Logger {
  readonly records: readonly { level: LogLevel; message: string; fields: LogFields | undefined }[];
}

/** A log that keeps its records, those of all subsystems. */
export function recordingLogger(): RecordingLogger {
  const records: { level: LogLevel; message: string; fields: LogFields | undefined }[] = [];
  const log = (level: LogLevel, message: string, fields?: LogFields): void => {
    records.push({ level, message, fields });
  };
  const logger: RecordingLogger = {
    records,
    log,
    debug: (message, fields) => log("debug", message, fields),
    info: (message, fields) => log("info", message, fields),
    warn: (message, fields) => log("warn", message, fields),
    error: (message, fields) => log("error", message, fields),
    of: () => logger,
  };
  return logger;
}
