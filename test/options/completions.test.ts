import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { COMPLETION_SHELLS, completionScript } from "../../src/options/completions.ts";
import type { Option } from "../../src/options/option.ts";
import { DEMO_OPTIONS, OPTIONS } from "../../src/options/table.ts";
import { LOG_LEVELS } from "../../src/base/log.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const FLAGS = (Object.values(OPTIONS) as Option[]).flatMap((option) => option.flag ?? []);

/** What bash suggests for these words, the last of which is being typed. Bash itself splits at `=`. */
function complete(words: readonly string[], directory = "/"): string[] {
  const script = `${completionScript("bash")}
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    spec=$(complete -p kata-trace-forwarder) || exit 3
    [[ $spec == "complete -F _kata_trace_forwarder kata-trace-forwarder" ]] || exit 4
    _kata_trace_forwarder kata-trace-forwarder "\${COMP_WORDS[COMP_CWORD]}" || exit 5
    ((${"$"}{#COMPREPLY[@]})) && printf '%s\\n' "\${COMPREPLY[@]}"
    exit 0`;
  const result = spawnSync("bash", [
    "--norc",
    "-c",
    script,
    "bash",
    "kata-trace-forwarder",
    ...words,
  ], { cwd: directory, encoding: "utf8" });
  assert.equal(result.stderr, "");
  assert.equal(result.status, 0);
  return result.stdout.split("\n").filter((line) => line !== "");
}

test("bash suggests every flag and command, and filters by what is typed", () => {
  const all = complete([""]);
  for (const flag of FLAGS) assert.ok(all.includes(flag), flag);
  for (const word of ["-l", "-h", "--help", "-v", "--version", "demo", "completions"]) {
    assert.ok(all.includes(word), word);
  }
  assert.deepEqual(complete(["--otlp-"]), ["--otlp-endpoint", "--otlp-protocol", "--otlp-listen"]);
  assert.deepEqual(complete(["--dump-only", "de"]), ["demo"]);
  assert.deepEqual(complete(["--nonsense"]), []);
});

test("bash suggests a flag's values, after a blank and after an equals sign", () => {
  assert.deepEqual(complete(["--log-level", ""]), [...LOG_LEVELS]);
  assert.deepEqual(complete(["-l", "w"]), ["warn"]);
  assert.deepEqual(complete(["--otlp-protocol", "=", ""]), ["grpc", "http/protobuf"]);
  assert.deepEqual(complete(["--otlp-protocol", "="]), ["grpc", "http/protobuf"]);
  assert.deepEqual(complete(["--when-full", "=", "d"]), ["drop-oldest"]);
  assert.deepEqual(complete(["--vsock-port", ""]), []);
  assert.ok(complete(["--user", "roo"]).includes("root"));
  assert.ok(complete(["--socket-group", "roo"]).includes("root"));
});

test("bash suggests files and directories with blanks in their names", () => {
  using temporary = temporaryDirectory();
  const directory = temporary.path;
  mkdirSync(join(directory, "one dir"));
  writeFileSync(join(directory, "one file"), "");
  assert.deepEqual(complete(["--spool-dir", "one"], directory), ["one dir"]);
  assert.deepEqual(complete(["--dead-letter", "one"], directory).sort(), ["one dir", "one file"]);
  assert.deepEqual(complete(["--dead-letter", "one f"], directory), ["one file"]);
});

test("bash suggests a command's own words, and takes no value for a command", () => {
  const demo = Object.values(DEMO_OPTIONS).map((option) => option.flag);
  const offered = complete(["demo", "--"]);
  assert.deepEqual(offered.sort(), [...demo, "--help"].sort());
  assert.deepEqual(complete(["demo", "--log-level", "c"]), ["critical"]);
  assert.deepEqual(complete(["completions", ""]), [...COMPLETION_SHELLS]);
  assert.deepEqual(complete(["--user", "demo", "--otlp-p"]), ["--otlp-protocol"]);
  assert.deepEqual(complete(["--user", "=", "demo", "--otlp-p"]), ["--otlp-protocol"]);
});

test("zsh and fish get every flag with its sentence and its values, quoted for the shell", () => {
  const zsh = completionScript("zsh");
  const fish = completionScript("fish");
  for (const flag of FLAGS) {
    const starts = [`    '${flag}`, `    '*${flag}`, `)${flag}=[`];
    assert.ok(starts.some((start) => zsh.includes(start)), flag);
    assert.ok(fish.includes(` -l ${flag.slice(2)} `), flag);
  }
  assert.ok(zsh.startsWith("#compdef kata-trace-forwarder\n"));
  assert.ok(
    zsh.includes(
      "'*--socket-path=[Hybrid vsock\\: the VMM'\\''s socket, or with {ID} those of all sandboxes; may be " +
        "repeated]:PATH:_files'",
    ),
  );
  assert.ok(zsh.includes("]:WHAT:(pause drop-oldest)'"));
  assert.ok(fish.includes("-l socket-path -r -F -d 'Hybrid vsock: the VMM\\'s socket,"));
  assert.ok(fish.includes("-l when-full -x -a 'pause drop-oldest' -d "));
  assert.ok(fish.includes("-n '__fish_seen_subcommand_from demo' -l width -x -d "));
});
