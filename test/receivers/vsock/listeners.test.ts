import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createListener } from "../../../src/receivers/vsock/create-listener.ts";
import { type Listener, ListenError } from "../../../src/receivers/vsock/listener.ts";
import { Listeners } from "../../../src/receivers/vsock/listeners.ts";
import { bytesOf, dial, Guests, options } from "./guests.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

/** A listener that keeps what is asked of it, in a list that several may share. */
class FakeListener implements Listener {
  readonly address: string;
  readonly #calls: string[];
  readonly #fails: { readonly absent: boolean } | undefined;

  constructor(address: string, calls: string[], fails?: { readonly absent: boolean }) {
    this.address = address;
    this.#calls = calls;
    this.#fails = fails;
  }
  async listen(): Promise<void> {
    this.#calls.push(`listen ${this.address}`);
    if (this.#fails) throw new ListenError(`cannot listen at ${this.address}`, this.#fails);
  }
  begin(): void {
    this.#calls.push(`begin ${this.address}`);
  }
  async stopAccepting(): Promise<void> {
    this.#calls.push(`stop ${this.address}`);
  }
  handOver(): void {
    this.#calls.push(`hand over ${this.address}`);
  }
  cleanUp(): void {
    this.#calls.push(`clean ${this.address}`);
  }
}

test("each is asked in turn, and the others go on without an optional one that the machine has not", async () => {
  const calls: string[] = [];
  const using = options();
  const listeners = new Listeners([
    { listener: new FakeListener("a", calls), optional: false },
    { listener: new FakeListener("b", calls, { absent: true }), optional: true },
    { listener: new FakeListener("c", calls), optional: true },
  ], using);
  assert.equal(listeners.address, "a, b, c");
  await listeners.listen(new Guests().accept);
  assert.equal(listeners.address, "a, c");
  await listeners.begin();
  listeners.cleanUp();
  await listeners.stopAccepting();
  assert.deepEqual(
    calls,
    ["listen a", "listen b", "stop b", "listen c", "begin a", "begin c"]
      .concat(["clean a", "clean c", "stop a", "stop c"]),
  );
  assert.equal(using.problems[0], "going on without one of the places to listen at");
  assert.equal((using.problems[1] as Error).message, "cannot listen at b");
});

for (
  const [what, failing] of [
    ["one that is not optional", { absent: true, optional: false }],
    ["an optional one that is there but cannot be had", { absent: false, optional: true }],
  ] as const
) {
  test(`${what} fails the whole, and all can be stopped then`, async () => {
    const calls: string[] = [];
    const listeners = new Listeners([
      { listener: new FakeListener("a", calls), optional: false },
      {
        listener: new FakeListener("b", calls, { absent: failing.absent }),
        optional: failing.optional,
      },
      { listener: new FakeListener("c", calls), optional: false },
    ], options());
    await assert.rejects(listeners.listen(new Guests().accept), {
      name: "ListenError",
      message: "cannot listen at b",
    });
    await listeners.stopAccepting();
    assert.deepEqual(calls, ["listen a", "listen b", "stop a", "stop b", "stop c"]);
  });
}

test("no guest is accepted before all of them listen", async () => {
  using directory = temporaryDirectory();
  const at = (name: string) => join(directory.path, name);
  const listener = createListener([
    { kind: "hybrid", socketPath: at("a"), port: 1, mode: 0o600 },
    { kind: "vsock", cid: 0x7fff_fff1, port: 1, optional: true },
    { kind: "template", directory: directory.path, between: [], name: "c", port: 1, mode: 0o600 },
    { kind: "hybrid", socketPath: at("b"), port: 1, mode: 0o600 },
  ], options());
  const guests = new Guests();
  const before = listener.listen(guests.accept);
  // As soon as the first socket is there.
  const early = (async () => {
    while (!existsSync(at("a_1"))) await Promise.resolve();
    return await dial(at("a_1"));
  })();
  await before;
  assert.equal(guests.seen.length, 0);
  assert.deepEqual(readdirSync(directory.path).sort(), ["a_1", "b_1"]);
  await listener.begin?.();
  (await early).end("x");
  await guests.until(() => guests.ended === 1);
  assert.equal(bytesOf(guests.seen[0]), "x");
  await listener.stopAccepting();
  assert.deepEqual(readdirSync(directory.path), []);
});

test("a single one is listened to by itself", () => {
  const listener = createListener(
    [{ kind: "hybrid", socketPath: "/run/box/vm.sock", port: 1, mode: 0o600 }],
    options(),
  );
  assert.equal(listener.constructor.name, "HybridListener");
  assert.equal(listener.address, "/run/box/vm.sock_1");
});
