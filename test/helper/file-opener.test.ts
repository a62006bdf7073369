import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadLibc } from "../../ffi/libc.ts";
import { listAllowed, openAllowed } from "../../src/helper/file-opener.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const libc = await loadLibc();

/** What this process has open below a directory. Tests in other files open and close theirs meanwhile. */
function openBelow(directory: string): string[] {
  return readdirSync("/proc/self/fd").flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/self/fd/${descriptor}`)];
    } catch {
      // The one of the listing itself, or another file's test has closed it.
      return [];
    }
  }).filter((path) => path.startsWith(directory));
}

/** A file, and a folder whose files of one name may be read. */
function stage(directory: string) {
  const file = join(directory, "key.pem");
  const bundles = join(directory, "bundles");
  writeFileSync(file, "secret key");
  mkdirSync(join(bundles, "box"), { recursive: true });
  writeFileSync(join(bundles, "box", "config.json"), "{}");
  const allowed = [{ file }, { directory: bundles, name: "config.json" }];
  const read = (path: string): string => {
    const descriptor = openAllowed(libc, allowed, path);
    try {
      return readFileSync(`/proc/self/fd/${descriptor}`, "utf8");
    } finally {
      closeSync(descriptor);
    }
  };
  return { file, bundles, read };
}

test("what the settings name can be read, also if it has been replaced by a link", () => {
  using directory = temporaryDirectory();
  const { file, bundles, read } = stage(directory.path);
  assert.equal(read(file), "secret key");
  assert.equal(read(join(bundles, "box", "config.json")), "{}");
  // As the kubelet replaces what is in a secret.
  const data = join(directory.path, "data");
  writeFileSync(data, "renewed key");
  execFileSync("ln", ["-sfn", data, file]);
  assert.equal(read(file), "renewed key");
});

test("nothing else can be, however the path is written", () => {
  using directory = temporaryDirectory();
  const { file, bundles, read } = stage(directory.path);
  writeFileSync(join(bundles, "box", "other.json"), "x");
  symlinkSync(file, join(bundles, "config.json"));
  symlinkSync("/etc", join(bundles, "etc"));
  symlinkSync(join(bundles, "box"), join(bundles, "link"));
  mkdirSync(join(bundles, "directory", "config.json"), { recursive: true });
  mkdirSync(join(bundles, "fifo"));
  execFileSync("mkfifo", [join(bundles, "fifo", "config.json")]);
  linkSync(file, join(bundles, "box", "hard"));
  for (
    const path of [
      "",
      "/",
      "key.pem",
      "/etc/passwd",
      directory.path,
      bundles,
      `${bundles}/`,
      `${bundles}/config.json`,
      `${bundles}/box`,
      `${bundles}/box/`,
      `${bundles}/box/hard`,
      `${bundles}/box/other.json`,
      `${bundles}//box/config.json`,
      `${bundles}/./box/config.json`,
      `${bundles}/box/../box/config.json`,
      `${bundles}/../key.pem`,
      `${bundles}/../bundles/box/config.json`,
      `${bundles}/box/config.json/`,
      `${bundles}/box/config.json\0`,
      `${bundles}/box\0/config.json`,
      `${bundles}/link/config.json`,
      `${bundles}/etc/config.json`,
      `${bundles}/directory/config.json`,
      `${bundles}/fifo/config.json`,
      `${bundles}/missing/config.json`,
      `${bundles}/${"box/".repeat(40)}config.json`,
      `${bundles}x/box/config.json`,
      `${file}/../key.pem`,
      `/proc/self/root${file}`,
    ]
  ) assert.throws(() => read(path), Error, path);
  assert.deepEqual(openBelow(directory.path), []);
});

test("names are listed at and below directories that hold such files, and nowhere else", () => {
  using directory = temporaryDirectory();
  const { bundles, file } = stage(directory.path);
  const allowed = [{ file }, { directory: bundles, name: "config.json" }];
  const list = (path: string, prefix: string, most = 16): string[] =>
    listAllowed(libc, allowed, path, prefix, most).sort();
  for (const name of ["k8s.io", "aaa1", "aaa2", "aab"]) mkdirSync(join(bundles, name));
  mkdirSync(join(bundles, "k8s.io", "aaa3"));
  symlinkSync("/etc", join(bundles, "etc"));
  assert.deepEqual(list(bundles, ""), ["aaa1", "aaa2", "aab", "box", "etc", "k8s.io"]);
  assert.deepEqual(list(bundles, "aaa"), ["aaa1", "aaa2"]);
  assert.equal(list(bundles, "", 2).length, 2);
  assert.deepEqual(list(join(bundles, "k8s.io"), "a"), ["aaa3"]);
  for (
    const path of [
      "",
      "/",
      "/etc",
      directory.path,
      file,
      `${bundles}/`,
      `${bundles}/..`,
      `${bundles}/../bundles`,
      join(bundles, "etc"),
      join(bundles, "gone"),
      `${bundles}/box/config.json`,
      `${bundles}\0`,
    ]
  ) {
    assert.throws(() => list(path, ""), Error, path);
  }
  assert.deepEqual(openBelow(directory.path), []);
});
