import type { Libc } from "../../ffi/libc.ts";
import { parseThreadStatus } from "../host/thread-status.ts";
import { defaultUser, findUser } from "../host/user.ts";
import type { ListenSettings, Settings } from "../pipeline/settings.ts";
import { type AreaFinding, note, ok, problem, unknown, warning } from "./finding.ts";
import type { HostFiles } from "./host-files.ts";
import type { HostProcess } from "./processes.ts";

/** Capabilities by their bits (linux/capability.h), and what each is for. */
const CAPABILITIES = [
  { name: "CHOWN", bit: 0n, purpose: "to give the socket's group and the spool to its user" },
  { name: "DAC_OVERRIDE", bit: 1n, purpose: "for sockets in root's directories" },
  { name: "SETGID", bit: 6n, purpose: "to become its user" },
  { name: "SETUID", bit: 7n, purpose: "to become its user" },
] as const;
/** Permission bits: everybody may write. */
const WORLD_WRITABLE = 0o002;

/** The libc functions that find users. */
export type UserDatabase = Pick<Libc, "userByName" | "userById">;

/** Who this process is, which forwarders run, the user that one becomes, and the directories that it listens in. */
export function checkRights(
  settings: Settings,
  files: HostFiles,
  users: UserDatabase,
  processes: readonly HostProcess[],
): AreaFinding[] {
  const findings = [...self(files), ...forwarders(processes)];
  const { user, owner } = userToBecome(settings, users);
  findings.push(user);
  for (const directory of socketDirectories(settings.listen)) findings.push(socketDirectory(files, directory, owner));
  return findings;
}

function self(files: HostFiles): AreaFinding[] {
  const status = files.text("/proc/self/status");
  if (status.kind !== "seen") return [unknown("this user", "/proc/self/status cannot be read")];
  const { uids: [, uid = 0], effective } = parseThreadStatus(0, status.content);
  if (uid !== 0) {
    return [note("this user", `uid ${uid}: some of what follows is for root alone`, "sudo kata-trace-forwarder check")];
  }
  const missing = CAPABILITIES.filter(({ bit }) => (effective & (1n << bit)) === 0n);
  if (missing.length === 0) return [ok("this user", "root, with the capabilities that a start needs")];
  return missing.map(({ name, purpose }) =>
    problem("this user", `root without CAP_${name}, which is needed ${purpose}`, `add the capability ${name}`)
  );
}

function forwarders(processes: readonly HostProcess[]): AreaFinding[] {
  const running = processes.filter((process) => isForwarder(process));
  if (running.length === 0) {
    return [note("forwarder", "none runs now", "systemctl start kata-trace-forwarder, or start it by hand")];
  }
  const pids = running.map(({ pid }) => pid).join(", ");
  return [ok("forwarder", `runs already (process ${pids})`)];
}

/** A forwarder that receives, and not one of its other commands, such as this one. */
function isForwarder({ name, arguments: words }: HostProcess): boolean {
  return name === "kata-trace-forwarder" && (words.length < 2 || words[1]?.startsWith("-") === true ||
    words[1] === "view");
}

function userToBecome(
  { user: asked }: Settings,
  users: UserDatabase,
): { readonly user: AreaFinding; readonly owner: number | undefined } {
  const { name, isShared } = asked === undefined ? defaultUser(users) : { name: asked, isShared: false };
  const found = findUser(users, name);
  if (found === undefined) {
    const advice = "systemd-sysusers, or useradd --system --shell /usr/sbin/nologin kata-trace-forwarder";
    return { user: problem("user to run as", `there is no user "${name}"`, advice), owner: undefined };
  }
  if (found.uid === 0 || found.gid === 0) {
    const finding = problem("user to run as", `"${name}" is root or in root's group`, "give --user another user");
    return { user: finding, owner: undefined };
  }
  const user = isShared
    ? warning(
      "user to run as",
      `${name}, as which other programs run too`,
      "useradd --system --shell /usr/sbin/nologin kata-trace-forwarder",
    )
    : ok("user to run as", `${name} (uid ${found.uid})`);
  return { user, owner: found.uid };
}

interface SocketDirectory {
  readonly path: string;
  /** It may appear later. */
  readonly isOptional: boolean;
}

function socketDirectories(listen: Settings["listen"]): SocketDirectory[] {
  const directories = new Map<string, SocketDirectory>();
  for (const each of listen) {
    const directory = directoryOf(each);
    if (directory !== undefined && !directories.has(directory.path)) directories.set(directory.path, directory);
  }
  return [...directories.values()];
}

function directoryOf(listen: ListenSettings): SocketDirectory | undefined {
  if (listen.kind === "vsock") return undefined;
  if (listen.kind === "template") return { path: listen.directory.split("/{UID}")[0] as string, isOptional: true };
  return { path: listen.socketPath.slice(0, listen.socketPath.lastIndexOf("/")) || "/", isOptional: false };
}

function socketDirectory(files: HostFiles, { path, isOptional }: SocketDirectory, owner?: number): AreaFinding {
  const seen = files.status(path);
  if (seen.kind === "hidden") return unknown(path, seen.reason, "run check as root");
  if (seen.kind === "absent") {
    return isOptional
      ? note(path, "not there yet: Kata makes it with the first sandbox of its kind")
      : problem(path, "missing", `the directory must be there before the start: mkdir -p ${path}`);
  }
  const { uid, mode, isDirectory } = seen.content;
  const octal = mode.toString(8).padStart(4, "0");
  if (!isDirectory) return problem(path, "not a directory", "move it away");
  if (uid !== 0 && uid !== owner) {
    return problem(path, `belongs to uid ${uid}, so it is not listened in`, `chown root ${path}`);
  }
  if ((mode & WORLD_WRITABLE) !== 0) {
    return problem(path, `everybody may write to it (${octal}), so it is not listened in`, `chmod o-w ${path}`);
  }
  return ok(path, `there, ${uid === 0 ? "root's" : `uid ${uid}'s`}, mode ${octal}`);
}
