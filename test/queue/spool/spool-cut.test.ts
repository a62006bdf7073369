import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Spool } from "../../../src/queue/spool/spool.ts";
import { SPOOL_MIN_BYTES } from "../../../src/pipeline/settings.ts";
import { PAGE_BYTES } from "../../../src/queue/spool/spool-database.ts";
import { prepareSpoolDirectory } from "../../../src/queue/spool/spool-directory.ts";
import { SpoolError } from "../../../src/queue/spool/spool-error.ts";
import { MemoryLog, range, temporaryDirectory } from "../support.ts";

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
    const { path, remove } = temporaryDirectory();
    try {
      const whole = prepareSpoolDirectory(join(path, "whole"));
      const spool = Spool.open(whole, SPOOL_MIN_BYTES, new MemoryLog());
      const request = (sequence: number) => new Uint8Array(bytes).fill(sequence);
      spool.commit(
        range(1, BATCHES).map((sequence) => ({ sequence, spans: 1, request: request(sequence) })),
        [],
      );
      spool.close();
      const pages = fs.statSync(join(whole, "spool.db")).size / PAGE_BYTES;
      let savedBefore = 0;
      for (const page of range(1, pages - 1)) {
        const directory = prepareSpoolDirectory(join(path, String(page)));
        fs.copyFileSync(join(whole, "spool.db"), join(directory, "spool.db"));
        fs.truncateSync(join(directory, "spool.db"), page * PAGE_BYTES + 3000);
        const log = new MemoryLog();
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
    } finally {
      remove();
    }
  });
}
