import assert from "node:assert/strict";
import { test } from "node:test";
import { DescribedGuests } from "../../../src/receivers/vsock/described-guests.ts";
import type { GuestConnection, GuestReceiver } from "../../../src/receivers/vsock/listener.ts";
import { sandboxSource, vsockSource } from "../../../src/receivers/vsock/identity.ts";

/** A lookup that answers when a test says so, and guests as they were taken in. */
class Stage {
  readonly #known = new Map<string, ReadonlyMap<string, string>>();
  readonly #asked = new Map<string, PromiseWithResolvers<ReadonlyMap<string, string>>>();
  readonly taken: GuestConnection[] = [];
  readonly calls: string[] = [];
  pausesAtOnce = false;
  readonly guests = new DescribedGuests({
    known: (sandbox) => this.#known.get(sandbox),
    find: (sandbox) => {
      const asked = Promise.withResolvers<ReadonlyMap<string, string>>();
      this.#asked.set(sandbox, asked);
      return asked.promise;
    },
  }, (connection) => {
    this.taken.push(connection);
    if (this.pausesAtOnce) connection.pause();
    return {
      data: (chunk) => this.calls.push(`data ${new TextDecoder().decode(chunk)}`),
      end: (error) => this.calls.push(`end ${error?.message}`),
    };
  });

  connect(sandbox: string): GuestReceiver {
    return this.guests.accept(this.connection(sandbox));
  }

  connection(sandbox: string): GuestConnection {
    return {
      source: sandboxSource(sandbox, `/run/vc/vm/${sandbox}`),
      keptAs: "name",
      isClosed: true,
      pause: () => this.calls.push("pause"),
      resume: () => this.calls.push("resume"),
      destroy: () => this.calls.push("destroy"),
    };
  }

  async answer(sandbox: string, pod?: string): Promise<void> {
    const known = new Map(pod === undefined ? [] : [["k8s.pod.name", pod]]);
    this.#known.set(sandbox, known);
    this.#asked.get(sandbox)?.resolve(known);
    await Promise.resolve();
    await Promise.resolve();
  }
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("a guest is not read until its pod is known, and then has it", async () => {
  const stage = new Stage();
  const guest = stage.connect("a");
  assert.deepEqual(stage.calls, ["pause"]);
  // What an earlier process has read of a frame comes before the guest is taken in.
  guest.data(bytes("left"));
  await stage.answer("a", "web-0");
  assert.deepEqual(stage.calls, ["pause", "data left", "resume"]);
  const [taken] = stage.taken;
  assert.deepEqual(taken?.source, {
    ...sandboxSource("a", "/run/vc/vm/a"),
    attributes: new Map([["kata.sandbox.id", "a"], ["k8s.pod.name", "web-0"]]),
  });
  assert.deepEqual([taken?.keptAs, taken?.isClosed], ["name", true]);
  guest.data(bytes("more"));
  guest.end(new Error("broken"));
  taken?.destroy();
  assert.deepEqual(stage.calls.slice(3), ["data more", "end broken", "destroy"]);
});

test("a guest whose pod is known, or whose sandbox is not, is taken in at once", async () => {
  const stage = new Stage();
  await stage.answer("a", "web-0");
  stage.connect("a");
  stage.guests.accept({ ...stage.connection("a"), source: vsockSource({ cid: 3, port: 1 }) });
  assert.deepEqual(stage.taken.map(({ source }) => source.attributes.get("k8s.pod.name")), ["web-0", undefined]);
  assert.deepEqual(stage.calls, []);
});

test("a guest that is paused when it is taken in stays so", async () => {
  const stage = new Stage();
  stage.pausesAtOnce = true;
  stage.connect("a");
  await stage.answer("a");
  assert.deepEqual(stage.calls, ["pause", "pause"]);
  stage.taken[0]?.resume();
  assert.deepEqual(stage.calls, ["pause", "pause", "resume"]);
});

test("a guest that breaks meanwhile is not taken in", async () => {
  const stage = new Stage();
  stage.connect("a").end(new Error("broken"));
  await stage.answer("a", "web-0");
  assert.deepEqual(stage.taken, []);
});

test("at a stop nobody waits any more, and what was read of a guest goes where the others' bytes go", async () => {
  const stage = new Stage();
  stage.connect("a").data(bytes("left"));
  stage.guests.flush();
  stage.connect("b");
  assert.deepEqual(stage.taken.map(({ source }) => source.name), ["a", "b"]);
  assert.deepEqual(stage.calls, ["pause", "data left", "resume"]);
  await stage.answer("a", "web-0");
  assert.equal(stage.taken.length, 2);
});
