import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { CA } from "../../exporters/support/certificates.ts";
import { MACHINE_PATIENCE, runMachine } from "../support/machine.ts";
import { program, Workshop } from "../support/programs.ts";

const workshop = new Workshop();
after(() => workshop.close());

interface LogLine {
  readonly msg: string;
  readonly threads?: string;
  readonly error?: string;
}

/** What a forwarder says that has to open a file outside of what it may reach, in a machine with this kernel. */
async function said(parameters: string): Promise<{ readonly modules: string; readonly lines: readonly LogLine[] }> {
  const folder = await workshop.folder();
  const certificate = join(folder, "ca.pem");
  await writeFile(certificate, CA);
  const results = await runMachine("landlock.sh", folder, [
    ...["--forwarder", program("KTF_EXECUTABLE"), "--agent", program("KTF_AGENT"), "--kernel", parameters],
    ...["--file", `${certificate}:/hidden/ca.pem`],
  ]);
  const lines = results.text("log.jsonl").trim().split("\n").map((line) => JSON.parse(line) as LogLine);
  return { modules: results.text("lsm"), lines };
}

test("after the start, Landlock keeps the forwarder from a file outside", MACHINE_PATIENCE, async () => {
  const { modules, lines } = await said("lsm=landlock");
  assert.match(modules, /landlock/);
  const confined = lines.find(({ msg }) => msg === "files are confined");
  assert.match(confined?.threads ?? "", /^(every thread|this thread and those that it starts)$/);
  const refused = lines.find(({ msg }) => msg.startsWith("certificates cannot be renewed"));
  assert.match(refused?.error ?? "", /\/certificates\/ca\.pem.*EACCES/);
});

test("a kernel without Landlock is told of in the log, and files stay in reach", MACHINE_PATIENCE, async () => {
  const { modules, lines } = await said("lsm=capability");
  assert.doesNotMatch(modules, /landlock/);
  const confined = lines.find(({ msg }) => msg === "files are confined");
  assert.equal(confined?.threads, "none: the kernel has no Landlock");
  assert.deepEqual(lines.filter(({ msg }) => msg.startsWith("certificates cannot be renewed")), []);
});
