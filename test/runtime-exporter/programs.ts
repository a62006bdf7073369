import { spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { concatenate, frame } from "../decode/support/fixtures.ts";

/** The programs that test/runtime-exporter/build builds, by the names that it prints. */
const NAMES = ["exporter", "exporter015", "telemetrygen", "translate", "runtimers"] as const;
export type ProgramName = (typeof NAMES)[number];

const OUTPUT_BYTES = 1 << 30;

/** The path of a program. Throws one line that says what is missing. */
export function exporterProgram(name: ProgramName): string {
  const built = process.env["KTF_RUNTIME_EXPORTERS"] ?? "";
  const path = new RegExp(`^${name}=(.+)$`, "m").exec(built)?.[1];
  if (path === undefined) {
    throw new Error("KTF_RUNTIME_EXPORTERS must be what test/runtime-exporter/build prints: run scripts/test-system");
  }
  return path;
}

/** What a program wrote, once it has ended. */
export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one of the programs to its end. */
export function runExporter(
  name: ProgramName,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(exporterProgram(name), args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => stdout += text);
    child.stderr.setEncoding("utf8").on("data", (text: string) => stderr += text);
    child.once("error", reject);
    child.once("close", (status) => resolve({ status, stdout, stderr }));
  });
}

/** What the Collector's decoders make of a body: a request in OTLP/JSON, or why they refuse it. */
export type Translation = { readonly spans: unknown } | { readonly error: string };

/** Has the Collector's decoders read bodies. */
export function translate(encoding: "thrift" | "json", bodies: readonly Uint8Array[]): Translation[] {
  const { status, stdout, stderr, error } = spawnSync(exporterProgram("translate"), [encoding], {
    input: concatenate(bodies.map(frame)),
    maxBuffer: OUTPUT_BYTES,
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(String(stderr));
  const lines = stdout.toString().split("\n").slice(0, -1);
  if (lines.length !== bodies.length) throw new Error(`${lines.length} lines for ${bodies.length} bodies`);
  return lines.map((line) => JSON.parse(line) as Translation);
}
