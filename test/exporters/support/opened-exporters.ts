import { createExporter, type CreateExporterOptions } from "../../../src/exporters/create-exporter.ts";
import type { Exporter } from "../../../src/pipeline/exporter.ts";
import type { OtlpSettings } from "../../../src/pipeline/settings.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { withEnvironment } from "./environment.ts";

/** The exporters of one test. */
export class OpenedExporters {
  readonly #opened: Exporter[] = [];

  /** Opens one with just these variables, see {@link withEnvironment}. */
  async open(
    to: OtlpSettings,
    variables: Readonly<Record<string, string>>,
    options: Partial<CreateExporterOptions> = {},
  ): Promise<Exporter> {
    const exporter = await withEnvironment(variables, () => createExporter(to, new RecordingLogger(), options));
    this.#opened.push(exporter);
    return exporter;
  }

  /** Closes all that have been opened. */
  close(): void {
    for (const exporter of this.#opened.splice(0)) exporter.close();
  }
}
