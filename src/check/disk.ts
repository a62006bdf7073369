import { dirname } from "node:path";
import type { Settings } from "../pipeline/settings.ts";
import { type AreaFinding, note, ok, problem, unknown, warning } from "./finding.ts";
import type { HostFiles } from "./host-files.ts";

const MIB = 1024 ** 2;

/** Something that the settings put on disk. */
interface Place {
  readonly option: string;
  readonly path: string;
  /** Whether the path is a directory that is made, and not a file in one. */
  readonly isDirectory: boolean;
  /** The most that it takes, bytes; undefined: it has no limit. */
  readonly most: number | undefined;
}

/** Whether the disk has room for the spool, the viewer's store and other files. */
export function checkDisk({ queue, viewer, record }: Settings, files: HostFiles): AreaFinding[] {
  const { spool, deadLetterFile } = queue;
  const places: Place[] = [
    ...(spool === undefined
      ? []
      : [{ option: "--spool-dir", path: spool.directory, isDirectory: true, most: spool.maxBytes }]),
    ...(viewer?.store === undefined
      ? []
      : [{ option: "--store", path: viewer.store, isDirectory: false, most: viewer.storeBytes }]),
    ...(record === undefined
      ? []
      : [{ option: "--record", path: record.file, isDirectory: false, most: record.maxBytes }]),
    ...(deadLetterFile === undefined
      ? []
      : [{ option: "--dead-letter", path: deadLetterFile, isDirectory: false, most: undefined }]),
  ];
  const findings = places.map((place) => describe(place, files));
  if (spool === undefined) {
    findings.unshift(note(
      "--spool-dir",
      "not set: spans that the collector has not taken are lost with the process",
      "--spool-dir /var/lib/kata-trace-forwarder/spool",
    ));
  }
  return findings;
}

function describe({ option, path, isDirectory, most }: Place, files: HostFiles): AreaFinding {
  const item = `${option} ${path}`;
  const parent = dirname(path);
  const above = files.status(parent);
  if (above.kind === "hidden") return unknown(item, above.reason, "run check as root");
  if (above.kind === "absent") return problem(item, `there is no directory ${parent}`, `mkdir -p ${parent}`);
  const own = files.status(path);
  if (own.kind === "hidden") return unknown(item, own.reason, "run check as root");
  if (own.kind === "seen" && own.content.isDirectory !== isDirectory) {
    return problem(item, isDirectory ? "is a file" : "is a directory", `give ${option} another path`);
  }
  const free = files.freeSpace(path);
  if (free.kind !== "seen") return unknown(item, "the free space cannot be seen");
  const room = `${megabytes(free.content.bytes)} MiB free`;
  if (most !== undefined && free.content.bytes < most) {
    return warning(
      item,
      `${room}, but it may take ${megabytes(most)} MiB`,
      `free some, or lower ${option === "--spool-dir" ? "--spool-bytes" : `${option}-bytes`}`,
    );
  }
  if (free.content.bytes === 0) return problem(item, "the disk is full", "free some space");
  return ok(item, most === undefined ? room : `${room} for at most ${megabytes(most)} MiB`);
}

function megabytes(bytes: number): number {
  return Math.floor(bytes / MIB);
}
