import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Spool } from "../../../src/queue/spool/spool.ts";
import { SPOOL_MIN_BYTES } from "../../../src/pipeline/settings.ts";
import { PAGE_BYTES } from "../../../src/queue/spool/spool-database.ts";
import { prepareSpoolDirectory } from "../../../src/queue/spool/spool-directory.ts";
import { SpoolError } from "../../../src/queue/spool/spool-error.ts";
import { range } from "../../support/numbers.ts";
import { RecordingLogger } from "../../support/recording-logger.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const BATCHES = 20;

/** What can be read; of what cannot, that it is damaged must be known, since what fails otherwise is tried again. */
function readable(spool: Spool): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  for (const { sequence } of spool.backlog) {
    try {
      const read = spool.read(sequence);
      if (read !== undefined) found.set(sequence, read);
    } catch (error) {
      assert.ok(error instanceof SpoolError);
      assert.equal(error.kind, "damaged");
    }
  }
  return found;
}

/** Requests that end within a page, and such that an index page comes in between. */
for (const bytes of [20_000, 66_000]) {
  test(`a file of batches of ${bytes} bytes, cut off within any page, is set aside and saved from`, () => {
    using temporary = temporaryDirectory();
    const whole = prepareSpoolDirectory(join(temporary.path, "whole"));
    const spool = Spool.open(whole, SPOOL_MIN_BYTES, new RecordingLogger());
    const request = (sequence: number) => new Uint8Array(bytes).fill(sequence);
    spool.commit(
      range(1, BATCHES).map((sequence) => ({ sequence, spans: 1, request: request(sequence) })),
      [],
    );
    spool.close();
    const pages = fs.statSync(join(whole, "spool.db")).size / PAGE_BYTES;
    let savedBefore = 0;
    for (const page of range(1, pages - 1)) {
      const directory = prepareSpoolDirectory(join(temporary.path, String(page)));
      fs.copyFileSync(join(whole, "spool.db"), join(directory, "spool.db"));
      fs.truncateSync(join(directory, "spool.db"), page * PAGE_BYTES + 3000);
      const log = new RecordingLogger();
      const cut = Spool.open(directory, SPOOL_MIN_BYTES, log);
      const saved = readable(cut);
      for (const [sequence, read] of saved) assert.deepEqual(read, request(sequence));
      cut.close();
      // The more is left, the more is saved.
      assert.ok(saved.size >= savedBefore, `${saved.size} of ${page} pages`);
      savedBefore = saved.size;
      // SQLite finds nothing wrong with a last page that is cut, but for the batch in it.
      if (page < pages - 1) assert.match(log.records.at(-1)?.message ?? "", /set aside/);
      fs.rmSync(directory, { recursive: true });
    }
    assert.ok(savedBefore >= BATCHES - 2, `${savedBefore} saved when the last page is cut`);
  });
}

test("after a flipped bit anywhere, what can be read is what was written, and a loss is logged", () => {
  using temporary = temporaryDirectory();
  const directory = prepareSpoolDirectory(join(temporary.path, "spool"));
  const request = (sequence: number) => new Uint8Array(sequence <= 30 ? 20_000 : 100).fill(sequence);
  const batch = (sequence: number) => ({ sequence, spans: sequence % 7 + 1, request: request(sequence) });
  const spool = Spool.open(directory, SPOOL_MIN_BYTES, new RecordingLogger());
  spool.commit(range(1, 30).map(batch), []);
  spool.commit(range(31, 60).map(batch), range(5, 15));
  spool.close();
  const file = join(directory, "spool.db");
  const pristine = fs.readFileSync(file);
  const expected = [...range(1, 4), ...range(16, 60)];
  let harmless = 0;
  // Every page's first bytes, where its structure is, and places all over the file.
  const places = [
    ...range(0, 99),
    ...range(0, pristine.length / PAGE_BYTES - 1).flatMap((page) =>
      range(0, 4).map((byte) => page * PAGE_BYTES + byte)
    ),
    ...range(0, 99).map((i) => Math.floor(i * pristine.length / 100) + (i * 37) % 101),
  ];
  for (const place of places) {
    const flipped = Buffer.from(pristine);
    flipped[place] = (flipped[place] as number) ^ (1 << place % 8);
    for (const name of fs.readdirSync(directory)) fs.rmSync(join(directory, name));
    fs.writeFileSync(file, flipped);
    const log = new RecordingLogger();
    let damaged: Spool;
    try {
      damaged = Spool.open(directory, SPOOL_MIN_BYTES, log);
    } catch (error) {
      assert.ok(error instanceof SpoolError, `byte ${place}: ${String(error)}`);
      continue;
    }
    let reportedLosses = log.records.length;
    const found: number[] = [];
    for (const { sequence } of damaged.backlog) {
      const read = damaged.read(sequence);
      if (read === undefined) reportedLosses++;
      else {
        found.push(sequence);
        assert.deepEqual(read, request(sequence), `byte ${place}: batch ${sequence}`);
      }
    }
    if (reportedLosses === 0) {
      harmless++;
      assert.deepEqual(found, expected, `byte ${place}`);
    }
    damaged.close();
  }
  assert.ok(harmless > 0 && harmless < places.length / 2, `${harmless} of ${places.length}`);
});
