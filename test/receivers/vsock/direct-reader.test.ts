import assert from "node:assert/strict";
import { test } from "node:test";
import { loadLibc } from "../../../ffi/libc.ts";
import { AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from "../../../ffi/sockets.ts";
import { DirectReader, type Watch } from "../../../src/receivers/vsock/direct-reader.ts";

const libc = await loadLibc();

/** A runtime that reads the bell when it is told to: it has it under the number that it was given. */
class Runtime {
  readonly #watchers: { readonly descriptor: number; readonly ring: () => void; readonly ended: () => void }[] = [];
  readonly watch: Watch = (descriptor, watcher) => {
    watcher.open();
    this.#watchers.push({ descriptor, ring: () => watcher.ring(), ended: () => watcher.ended() });
  };

  ring(): void {
    const { descriptor, ring } = this.#watchers.at(-1) ?? assert.fail();
    assert.equal(libc.recv(descriptor, new Uint8Array(100), MSG_DONTWAIT), 1, "the bell has always a message");
    ring();
  }

  /** Reads no more. */
  end(): void {
    const { descriptor, ended } = this.#watchers.pop() ?? assert.fail();
    libc.close(descriptor);
    ended();
  }
}

function connectionPair(): readonly [number, number] {
  return libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/** A connection, and what is called for it. */
function connection(receive: (descriptor: number) => Uint8Array | undefined = () => undefined) {
  const seen: (string | undefined)[] = [];
  return {
    seen,
    reads: {
      bytes: 0,
      receive,
      read: () => {},
      processed: () => {},
      end: () => {},
      leave: () => {},
    },
    data: (chunk: Uint8Array) => void seen.push(new TextDecoder().decode(chunk)),
    end: (error: Error | undefined) => void seen.push(error?.message),
  };
}

function write(descriptor: number, text: string): void {
  libc.send(descriptor, new TextEncoder().encode(text), MSG_DONTWAIT);
}

test("each connection that is ready is read once a ring, and its end is told", () => {
  const runtime = new Runtime();
  const reader = new DirectReader(libc, runtime.watch, assert.fail);
  const [here, there] = connectionPair();
  const [other, otherEnd] = connectionPair();
  const [first, second] = [connection(), connection()];
  reader.add(here, first);
  reader.add(other, second);
  write(there, "a");
  runtime.ring();
  write(there, "b");
  write(otherEnd, "c");
  runtime.ring();
  assert.deepEqual([first.seen, second.seen], [["a", "b"], ["c"]]);
  write(there, "last");
  libc.close(there);
  for (let round = 0; round < 3; round++) runtime.ring();
  assert.deepEqual(first.seen, ["a", "b", "last", undefined]);
  reader.remove(other);
  write(otherEnd, "not read");
  runtime.ring();
  assert.deepEqual(second.seen, ["c"]);
  reader.add(other, second);
  runtime.ring();
  assert.deepEqual(second.seen, ["c", "not read"]);
  for (const descriptor of [here, other, otherEnd]) libc.close(descriptor);
});

test("it reads where the connection says, and an error there ends that connection alone", () => {
  const runtime = new Runtime();
  const reader = new DirectReader(libc, runtime.watch, assert.fail);
  const [here, there] = connectionPair();
  const [other, otherEnd] = connectionPair();
  const first = connection((descriptor) => {
    const buffer = new Uint8Array(1);
    return buffer.subarray(0, libc.recv(descriptor, buffer, MSG_DONTWAIT));
  });
  const second = connection(() => {
    throw new Error("broken");
  });
  reader.add(here, first);
  reader.add(other, second);
  write(there, "abc");
  write(otherEnd, "x");
  for (let round = 0; round < 4; round++) runtime.ring();
  assert.deepEqual([first.seen, second.seen], [["a", "b", "c"], ["broken"]]);
  for (const descriptor of [here, there, other, otherEnd]) libc.close(descriptor);
});

test("the bell is never empty, however often it rings", () => {
  const runtime = new Runtime();
  new DirectReader(libc, runtime.watch, assert.fail);
  for (let round = 0; round < 2000; round++) runtime.ring();
});

test("if the runtime reads the bell no more, that is said, and it gets another", () => {
  const runtime = new Runtime();
  const problems: string[] = [];
  const reader = new DirectReader(libc, runtime.watch, (message) => problems.push(message));
  const [here, there] = connectionPair();
  const only = connection();
  reader.add(here, only);
  write(there, "a");
  runtime.end();
  runtime.ring();
  assert.deepEqual(only.seen, ["a"]);
  assert.deepEqual(problems, ["waiting for guests' data has failed: it begins anew"]);
  for (const descriptor of [here, there]) libc.close(descriptor);
});
