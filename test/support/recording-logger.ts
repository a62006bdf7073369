import type { LogFields, Logger, LogLevel } from "../../src/base/log.ts";

/** One record as it was logged. */
export interface LoggedRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** A log that keeps the records of all subsystems, so that a test can look at them. */
export class RecordingLogger implements Logger {
  readonly records: LoggedRecord[] = [];

  log(level: LogLevel, message: string, fields: LogFields = {}): void {
    this.records.push({ level, message, fields });
  }
  debug(message: string, fields?: LogFields): void {
    this.log("debug", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.log("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.log("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.log("error", message, fields);
  }
  of(): Logger {
    return this;
  }

  /** The records whose message contains `text`. */
  find(text: string): LoggedRecord[] {
    return this.records.filter(({ message }) => message.includes(text));
  }
}
