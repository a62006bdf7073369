import assert from "node:assert/strict";
import { statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { loadLibc } from "../../ffi/libc.ts";
import { describeError } from "../../src/base/log.ts";
import { connectServiceManager, isDescriptorName } from "../../src/host/service-manager.ts";
import { openDescriptors } from "../receivers/vsock/guests.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { NotifyReceiver } from "./support/notify-receiver.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

/** The logged messages, each with its error. */
function messages({ records }: RecordingLogger): string[] {
  return records.map(({ message, fields }) => `${message} (${describeError(fields?.["error"])})`);
}

const libc = await loadLibc();
const quiet = new RecordingLogger();

/** An abstract name that no one else has. */
function abstractName(): string {
  return `@kata-notify-test-${process.pid}-${Math.random()}`;
}

function socketAddress(abstract: string): Uint8Array {
  const path = new TextEncoder().encode(abstract.replace("@", "\0"));
  return Uint8Array.of(1, 0, ...path);
}

/** Reads until `enough`. If that never happens, the test's own timeout ends it. */
async function readUntil(
  receiver: NotifyReceiver,
  enough: (messages: readonly string[]) => boolean,
): Promise<string[]> {
  const messages: string[] = [];
  while (!enough(messages)) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    messages.push(...receiver.read());
  }
  return messages;
}

test("readiness, status and stop are reported as in sd_notify(3)", async () => {
  const name = abstractName();
  const receiver = new NotifyReceiver(name);
  const manager = await connectServiceManager({ NOTIFY_SOCKET: name }, quiet);
  assert.deepEqual(receiver.read(), []);
  manager.ready("listening at vsock:4294967295:10240");
  manager.status("two\n lines");
  manager.stopping("delivering 5 spans", 10_000);
  assert.deepEqual(receiver.read(), [
    "READY=1\nSTATUS=listening at vsock:4294967295:10240",
    "STATUS=two lines",
    "STOPPING=1\nSTATUS=delivering 5 spans\nEXTEND_TIMEOUT_USEC=15000000",
  ]);
  manager.close();
  manager.status("closed");
  assert.deepEqual(receiver.read(), []);
  receiver.close();
});

test("a socket with a path stays reachable after its path has become unreachable", async () => {
  using temporary = temporaryDirectory();
  const directory = temporary.path;
  const path = join(directory, "notify");
  const receiver = new NotifyReceiver(path);
  try {
    const manager = await connectServiceManager({ NOTIFY_SOCKET: path }, quiet);
    unlinkSync(path);
    manager.ready("up");
    assert.deepEqual(receiver.read(), ["READY=1\nSTATUS=up"]);
    manager.close();
  } finally {
    receiver.close();
  }
});

test("the watchdog is fed from readiness until close", async () => {
  const name = abstractName();
  const receiver = new NotifyReceiver(name);
  const environment = {
    NOTIFY_SOCKET: name,
    WATCHDOG_USEC: "20000",
    WATCHDOG_PID: String(process.pid),
  };
  const manager = await connectServiceManager(environment, quiet);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(receiver.read(), []);
  manager.ready("up");
  const messages = await readUntil(receiver, (all) => all.length >= 4);
  assert.deepEqual(messages.slice(0, 4), [
    "READY=1\nSTATUS=up",
    "WATCHDOG=1",
    "WATCHDOG=1",
    "WATCHDOG=1",
  ]);
  manager.close();
  receiver.read();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(receiver.read(), []);
  receiver.close();
});

test("a watchdog that is off, or meant for another process, is not fed", async () => {
  for (
    const variables of [
      { WATCHDOG_USEC: "2000", WATCHDOG_PID: String(process.pid + 1) },
      { WATCHDOG_USEC: "0" },
      { WATCHDOG_USEC: "soon" },
      {},
    ]
  ) {
    const name = abstractName();
    const receiver = new NotifyReceiver(name);
    const manager = await connectServiceManager({ NOTIFY_SOCKET: name, ...variables }, quiet);
    manager.ready("up");
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.deepEqual(receiver.read(), ["READY=1\nSTATUS=up"], JSON.stringify(variables));
    manager.close();
    receiver.close();
  }
});

test("a slow manager delays nothing, and gets the important messages later", async () => {
  const name = abstractName();
  const receiver = new NotifyReceiver(name);
  const manager = await connectServiceManager({ NOTIFY_SOCKET: name }, quiet);
  const filled = receiver.fill(socketAddress(name));
  assert.ok(filled > 0);
  manager.ready("up");
  for (let i = 0; i < 1000; i++) manager.status(`status ${i}`);
  manager.stopping("stopping", 0);
  const messages = await readUntil(receiver, (all) => all.some((each) => /^STOPPING/.test(each)));
  assert.deepEqual(messages.filter((message) => message !== "."), [
    "READY=1\nSTATUS=up",
    "STATUS=status 999",
    "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=5000000",
  ]);
  manager.close();
  receiver.close();
});

test("a manager that goes away is logged once and not contacted again", async () => {
  const name = abstractName();
  const receiver = new NotifyReceiver(name);
  const log = new RecordingLogger();
  const manager = await connectServiceManager({ NOTIFY_SOCKET: name }, log);
  receiver.close();
  manager.ready("up");
  manager.status("again");
  manager.stopping("stopping", 1000);
  assert.deepEqual(messages(log), [
    "service manager can no longer be reached (sendmsg: ECONNREFUSED)",
  ]);
});

test("without a service manager nothing is opened", async () => {
  const before = openDescriptors();
  for (const environment of [{}, { NOTIFY_SOCKET: "" }, { WATCHDOG_USEC: "1000" }]) {
    const manager = await connectServiceManager(environment, quiet);
    manager.ready("up");
    manager.status("fine");
    manager.stopping("stopping", 1000);
    manager.close();
  }
  assert.equal(openDescriptors(), before);
});

test("an unusable NOTIFY_SOCKET is logged with the reason, and leaves nothing open", async () => {
  const wrong: readonly [name: string, reason: string][] = [
    ["notify", "neither a path nor an abstract socket"],
    ["vsock:2:1234", "neither a path nor an abstract socket"],
    [`/${"x".repeat(108)}`, "longer than a socket's path may be"],
    ["/nonexistent/notify", "connect: ENOENT"],
    [abstractName(), "connect: ECONNREFUSED"],
  ];
  const before = openDescriptors();
  for (const [name, reason] of wrong) {
    const log = new RecordingLogger();
    const manager = await connectServiceManager({ NOTIFY_SOCKET: name }, log);
    manager.ready("up");
    manager.stopping("stopping", 1000);
    manager.close();
    assert.deepEqual(messages(log), [
      `service manager cannot be reached: it gets no messages (${reason})`,
    ]);
  }
  assert.equal(openDescriptors(), before);
});

test("descriptors are stored and removed under their names", async () => {
  const name = abstractName();
  const receiver = new NotifyReceiver(name);
  const manager = await connectServiceManager({ NOTIFY_SOCKET: name, FDSTORE: "512" }, quiet);
  assert.equal(manager.descriptorPlaces, 512);
  const file = libc.memfdCreate("x", 0);
  manager.storeDescriptor("guest|1", file);
  manager.removeDescriptor("guest|0");
  const messages = receiver.messages();
  assert.deepEqual(messages.map(({ bytes }) => new TextDecoder().decode(bytes)), [
    "FDSTORE=1\nFDNAME=guest|1\nFDPOLL=0",
    "FDSTOREREMOVE=1\nFDNAME=guest|0",
  ]);
  const [stored = assert.fail("no descriptor"), ...others] = messages.flatMap(({ descriptors }) => descriptors);
  assert.deepEqual(others, []);
  assert.equal(statSync(`/proc/self/fd/${stored}`).ino, statSync(`/proc/self/fd/${file}`).ino);
  assert.equal(await manager.flushed(0), true);
  for (const fd of [stored, file]) libc.close(fd);
  manager.close();
  receiver.close();
});

test("a descriptor that is closed before the manager took it is never sent, and neither is its removal", async () => {
  const name = abstractName();
  const receiver = new NotifyReceiver(name);
  const manager = await connectServiceManager({ NOTIFY_SOCKET: name, FDSTORE: "1" }, quiet);
  const [early, late] = [libc.memfdCreate("early", 0), libc.memfdCreate("late", 0)];
  const filled = receiver.fill(socketAddress(name));
  manager.storeDescriptor("early", early);
  manager.storeDescriptor("late", late);
  manager.removeDescriptor("early");
  libc.close(early);
  assert.equal(await manager.flushed(30), false);
  assert.equal(receiver.read().length, filled);
  const messages = await readUntil(receiver, (all) => all.length > 0);
  assert.deepEqual(messages, ["FDSTORE=1\nFDNAME=late\nFDPOLL=0"]);
  assert.equal(await manager.flushed(1000), true);
  libc.close(late);
  manager.close();
  receiver.close();
});

test("a manager without a descriptor store is recognised by the missing variable", async () => {
  const name = abstractName();
  const receiver = new NotifyReceiver(name);
  for (const places of [undefined, "", "many", "-1", "0"]) {
    const environment = { NOTIFY_SOCKET: name, ...(places !== undefined && { FDSTORE: places }) };
    const manager = await connectServiceManager(environment, quiet);
    assert.equal(manager.descriptorPlaces, 0);
    manager.close();
  }
  receiver.close();
});

test("descriptors' names are valid for systemd", () => {
  for (const name of ["a", "guest|k3.1|v|3|1026", "l/run/vc", "x".repeat(255)]) assert.ok(isDescriptorName(name), name);
  for (const name of ["", "a:b", "a\nb", "é", "x".repeat(256), "\x7f"]) assert.ok(!isDescriptorName(name), name);
});
