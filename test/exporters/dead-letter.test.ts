import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { DeadLetterFile } from "../../src/exporters/dead-letter.ts";
import { deadLetterLine } from "../../src/exporters/dead-letter-line.ts";
import { RequestBuilder } from "../../src/otlp/request-builder.ts";
import { payload, resourceOf } from "../queue/support.ts";
import { spanId } from "../support/numbers.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

async function inTemporaryDirectory(run: (directory: string) => void | Promise<void>): Promise<void> {
  using temporary = temporaryDirectory();
  await run(temporary.path);
}

const TEXT = new TextEncoder();
const asText = (bytes: Uint8Array): Iterable<string> => [`${new TextDecoder().decode(bytes)}\n`];
const NEVER = new AbortController().signal;

test("a request becomes one line of OTLP/JSON, by resource and scope", () => {
  const builder = new RequestBuilder();
  const [x, y] = [resourceOf("k", "x"), resourceOf("k", "y\u009b31m")];
  builder.append(builder.resource(x), payload([1, 2]), 0);
  builder.append(builder.resource(y), payload([3]), 0);
  builder.append(builder.resource(x), payload([1, 2]), 1);
  const line = [...deadLetterLine(builder.finish())].join("");
  assert.equal(line.indexOf("\n"), line.length - 1);
  // A control character from the guest, harmless to whoever looks at the file.
  assert.ok(!line.includes("\u009b"));
  const { resourceSpans } = JSON.parse(line);
  assert.deepEqual(
    resourceSpans.map((spans: { resource: { attributes: unknown } }) => spans.resource.attributes),
    ["x", "y\u009b31m"].map((value) => [{ key: "k", value: { stringValue: value } }]),
  );
  assert.equal(resourceSpans[0].scopeSpans.length, 1);
  assert.deepEqual(
    resourceSpans.map((spans: { scopeSpans: { spans: { spanId: string }[] }[] }) =>
      spans.scopeSpans[0]?.spans.map((span) => span.spanId)
    ),
    [[spanId(1), spanId(2)], [spanId(3)]],
  );
  const [span] = resourceSpans[0].scopeSpans[0].spans;
  assert.equal(span.name, "a".repeat(10));
  assert.equal("resource" in span || "scope" in span, false);
  assert.throws(() => [...deadLetterLine(Uint8Array.of(0x0a, 0x05, 1))], { name: "ProtobufError" });
});

test("a negative zero stays one", () => {
  const builder = new RequestBuilder();
  const key = [0x0a, 0x01, 0x6b];
  const value = [0x12, 0x09, 0x21, 0, 0, 0, 0, 0, 0, 0, 0x80];
  const resource = Uint8Array.of(0x0a, 0x10, 0x0a, 0x0e, ...key, ...value);
  builder.append(builder.resource(resource), payload([1]), 0);
  const { resourceSpans } = JSON.parse([...deadLetterLine(builder.finish())].join(""));
  assert.deepEqual(resourceSpans[0].resource.attributes, [{
    key: "k",
    value: { doubleValue: "-0" },
  }]);
});

test("lines are appended to a file of 0600", () =>
  inTemporaryDirectory(async (directory) => {
    const path = join(directory, "dead.jsonl");
    const log = new RecordingLogger();
    for (const word of ["one", "two"]) {
      const file = DeadLetterFile.open(path);
      assert.equal(file.path, path);
      const writer = file.writer(asText, log);
      await writer.write(TEXT.encode(word), NEVER);
      await writer.write(TEXT.encode(`${word}!`), NEVER);
      file.close();
    }
    assert.equal(fs.readFileSync(path, "utf8"), "one\none!\ntwo\ntwo!\n");
    assert.equal(fs.statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(log.records, []);
  }));

test("the file is bounded, its failures are logged once, and it goes on when there is room", () =>
  inTemporaryDirectory(async (directory) => {
    const path = join(directory, "dead.jsonl");
    const log = new RecordingLogger();
    const file = DeadLetterFile.open(path, 10);
    const writer = file.writer(asText, log);
    for (const word of ["12345", "6789", "6789", "abc", "x"]) await writer.write(TEXT.encode(word), NEVER);
    assert.equal(fs.readFileSync(path, "utf8"), "12345\nabc\n");
    assert.equal(log.records.length, 2);
    assert.match(String(log.records[0]?.fields["error"]), /larger than 10 bytes/);
    // As a log rotation does it.
    fs.truncateSync(path);
    await writer.write(TEXT.encode("again"), NEVER);
    assert.equal(fs.readFileSync(path, "utf8"), "again\n");
    file.close();
    await writer.write(TEXT.encode("closed"), NEVER);
    assert.equal(log.records.length, 3);
  }));

test("a request that cannot be shown is no end of the process", () =>
  inTemporaryDirectory(async (directory) => {
    const log = new RecordingLogger();
    const file = DeadLetterFile.open(join(directory, "dead.jsonl"));
    await file.writer(deadLetterLine, log).write(Uint8Array.of(0x0a, 0x05, 1), NEVER);
    assert.equal(log.find("cannot write").length, 1);
    file.close();
  }));

test("only a regular file is opened", () =>
  inTemporaryDirectory(async (directory) => {
    const open = (name: string) => () => DeadLetterFile.open(join(directory, name));
    assert.throws(open("no/where"), { name: "DeadLetterError", message: /no\/where/ });
    fs.mkdirSync(join(directory, "folder"));
    assert.throws(open("folder"), { name: "DeadLetterError" });
    fs.symlinkSync("target", join(directory, "link"));
    assert.throws(open("link"), { name: "DeadLetterError" });
    assert.equal(fs.existsSync(join(directory, "target")), false);
    assert.throws(() => DeadLetterFile.open("/dev/null"), { message: /not a regular file/ });
  }));

test("a file that logrotate has moved away is opened anew, with whatever it has made in its place", () =>
  inTemporaryDirectory(async (directory) => {
    const path = join(directory, "dead.jsonl");
    const log = new RecordingLogger();
    const file = DeadLetterFile.open(path);
    const writer = file.writer(asText, log);
    const descriptors = (): number => fs.readdirSync("/proc/self/fd").length;
    await writer.write(TEXT.encode("one"), NEVER);
    const before = descriptors();
    // nocreate, then create.
    fs.renameSync(path, `${path}.1`);
    await writer.write(TEXT.encode("two"), NEVER);
    fs.renameSync(path, `${path}.2`);
    fs.writeFileSync(path, "made by logrotate\n", { mode: 0o640 });
    await writer.write(TEXT.encode("three"), NEVER);
    await writer.write(TEXT.encode("four"), NEVER);
    fs.rmSync(path);
    await writer.write(TEXT.encode("five"), NEVER);
    assert.equal(fs.readFileSync(`${path}.1`, "utf8"), "one\n");
    assert.equal(fs.readFileSync(`${path}.2`, "utf8"), "two\n");
    assert.equal(fs.readFileSync(path, "utf8"), "five\n");
    assert.equal(descriptors(), before);
    assert.deepEqual(log.records.map(({ level, message }) => `${level} ${message}`), [
      "info the dead-letter file was moved: it is opened anew",
      "info the dead-letter file was moved: it is opened anew",
      "info the dead-letter file was moved: it is opened anew",
    ]);
    file.close();
  }));

test("what stands in the place of a file that was moved but is none is not opened: lines go on to the old one", () =>
  inTemporaryDirectory(async (directory) => {
    const path = join(directory, "dead.jsonl");
    const log = new RecordingLogger();
    const file = DeadLetterFile.open(path);
    const writer = file.writer(asText, log);
    fs.renameSync(path, `${path}.1`);
    fs.symlinkSync("elsewhere", path);
    await writer.write(TEXT.encode("one"), NEVER);
    await writer.write(TEXT.encode("two"), NEVER);
    fs.rmSync(path);
    fs.mkdirSync(path);
    await writer.write(TEXT.encode("three"), NEVER);
    assert.equal(fs.readFileSync(`${path}.1`, "utf8"), "one\ntwo\nthree\n");
    assert.equal(fs.existsSync(join(directory, "elsewhere")), false);
    // Once for each reason.
    assert.deepEqual(log.records.map(({ level }) => level), ["warn", "warn"]);
    fs.rmdirSync(path);
    await writer.write(TEXT.encode("four"), NEVER);
    assert.equal(fs.readFileSync(path, "utf8"), "four\n");
    file.close();
  }));

test("a new file belongs to whoever goes on writing, an old one to whom it did", () =>
  inTemporaryDirectory(async (directory) => {
    const { uid, gid } = fs.statSync(directory);
    // Only root can give a file away.
    const owner = uid === 0 ? { uid: 65534, gid: 65534 } : { uid, gid };
    const path = join(directory, "dead.jsonl");
    const ownerAfterOpening = (): object => {
      DeadLetterFile.open(path, undefined, owner).close();
      const stats = fs.statSync(path);
      return { uid: stats.uid, gid: stats.gid };
    };
    assert.deepEqual(ownerAfterOpening(), owner);
    fs.chownSync(path, uid, gid);
    assert.deepEqual(ownerAfterOpening(), { uid, gid });
  }));

/** A line of so many pieces of a letter. */
function* piecesOf(letter: string, count: number, length = 1000): Generator<string> {
  for (let i = 0; i < count; i++) yield letter.repeat(length);
  yield "\n";
}

test("a long line is written piece by piece, others get their turns, and the next line waits for its end", () =>
  inTemporaryDirectory(async (directory) => {
    const path = join(directory, "dead.jsonl");
    const file = DeadLetterFile.open(path);
    const log = new RecordingLogger();
    let turns = 0;
    let isOver = false;
    const count = (): void => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    const format = ([letter]: Uint8Array): Iterable<string> => piecesOf(String.fromCharCode(letter as number), 50);
    const writer = file.writer(format, log);
    await Promise.all(["a", "b"].map((letter) => writer.write(TEXT.encode(letter), NEVER)));
    isOver = true;
    assert.equal(fs.readFileSync(path, "utf8"), `${"a".repeat(50_000)}\n${"b".repeat(50_000)}\n`);
    assert.ok(turns > 50, `${turns} turns`);
    assert.deepEqual(log.records, []);
    file.close();
  }));

test("a line longer than what is written at once comes out whole, or is taken back when the file is full", () =>
  inTemporaryDirectory(async (directory) => {
    const path = join(directory, "dead.jsonl");
    const log = new RecordingLogger();
    const file = DeadLetterFile.open(path, 12_000_010);
    const long = file.writer(() => piecesOf("x", 10, 1_000_000), log);
    const short = file.writer(asText, log);
    await short.write(TEXT.encode("one"), NEVER);
    await long.write(new Uint8Array(), NEVER);
    assert.equal(fs.statSync(path).size, 4 + 10_000_001);
    await long.write(new Uint8Array(), NEVER);
    assert.equal(fs.statSync(path).size, 4 + 10_000_001);
    assert.match(String(log.records[0]?.fields["error"]), /larger than 12000010 bytes/);
    await short.write(TEXT.encode("two"), NEVER);
    const lines = fs.readFileSync(path, "utf8").split("\n");
    assert.deepEqual(lines.map(({ length }) => length), [3, 10_000_000, 3, 0]);
    file.close();
  }));

test("a stop takes back the line that is being written, and reads nothing more of its request", () =>
  inTemporaryDirectory(async (directory) => {
    const path = join(directory, "dead.jsonl");
    const log = new RecordingLogger();
    const file = DeadLetterFile.open(path);
    const stop = new AbortController();
    let read = 0;
    const writer = file.writer(function* () {
      for (;;) {
        assert.equal(stop.signal.aborted, false);
        if (++read === 12) stop.abort();
        yield "x".repeat(1_000_000);
      }
    }, log);
    await file.writer(asText, log).write(TEXT.encode("before"), NEVER);
    await Promise.all([writer.write(new Uint8Array(), stop.signal), writer.write(new Uint8Array(), stop.signal)]);
    assert.equal(read, 12);
    assert.equal(fs.readFileSync(path, "utf8"), "before\n");
    assert.deepEqual(log.records.map(({ fields }) => fields["error"]), [
      "the forwarder stopped before the line was written",
    ]);
    file.close();
  }));

test("half a line that a killed process has left is ended before the next", () =>
  inTemporaryDirectory(async (directory) => {
    const path = join(directory, "dead.jsonl");
    fs.writeFileSync(path, 'whole\n{"half');
    const file = DeadLetterFile.open(path);
    const writer = file.writer(asText, new RecordingLogger());
    for (const word of ["one", "two"]) await writer.write(TEXT.encode(word), NEVER);
    assert.equal(fs.readFileSync(path, "utf8"), 'whole\n{"half\none\ntwo\n');
    file.close();
  }));
