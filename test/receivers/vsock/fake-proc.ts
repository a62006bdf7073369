import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

/** One process of a {@link FakeProc}. */
export interface FakeProcess {
  readonly arguments: readonly string[];
  /** Ticks since boot. */
  readonly start?: number;
  readonly uid?: number;
}

/** As much of a proc file system as is read to find sandboxes. Removed when it goes out of scope. */
export class FakeProc implements Disposable {
  readonly #directory = temporaryDirectory();

  constructor() {
    this.setUptime(1000);
    // What else there is.
    mkdirSync(join(this.path, "sys"));
    writeFileSync(join(this.path, "loadavg"), "");
  }

  get path(): string {
    return this.#directory.path;
  }

  /** In ticks, hundredths of a second. */
  setUptime(ticks: number): void {
    writeFileSync(join(this.path, "uptime"), `${(ticks / 100).toFixed(2)} 1.00\n`);
  }

  add(pid: number, { arguments: words, start = 500, uid = 0 }: FakeProcess): void {
    const directory = join(this.path, String(pid));
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, "cmdline"), words.map((word) => `${word}\0`).join(""));
    writeFileSync(
      join(directory, "status"),
      `Name:\tqemu\nUid:\t${uid}\t${uid}\t${uid}\t${uid}\nGid:\t0\t0\t0\t0\n`,
    );
    // proc_pid_stat(5): the start is field 22; a name may hold parentheses and blanks.
    const between = Array.from({ length: 18 }, (_, field) => String(field)).join(" ");
    writeFileSync(join(directory, "stat"), `${pid} (a) b (qemu) S ${between} ${start} 7 8 9\n`);
  }

  remove(pid: number): void {
    rmSync(join(this.path, String(pid)), { recursive: true });
  }

  [Symbol.dispose](): void {
    this.#directory[Symbol.dispose]();
  }
}

/** The arguments of a QEMU process of Kata's, as its Go runtime makes them. */
export function qemuArguments(cid: number, sandbox: string): string[] {
  return [
    "/opt/kata/bin/qemu-system-x86_64",
    ...["-name", `sandbox-${sandbox},debug-threads=on`],
    ...["-uuid", "e62392aa-df4d-4482-b269-622a8d89fc51"],
    ...["-machine", "q35,accel=kvm"],
    ...["-device", "virtio-serial-pci,disable-modern=true,id=serial0"],
    ...[
      "-device",
      `vhost-vsock-pci,disable-modern=true,vhostfd=4,id=vsock-${cid},guest-cid=${cid}`,
    ],
    ...["-append", "tsc=reliable agent.trace=true guest-cid=4"],
    "-nographic",
    "--no-reboot",
  ];
}
