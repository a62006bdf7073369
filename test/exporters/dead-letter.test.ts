import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { DeadLetterFile } from "../../src/exporters/dead-letter.ts";
import { deadLetterLine } from "../../src/exporters/dead-letter-line.ts";
import { RequestBuilder } from "../../src/otlp/request.ts";
import { payload, resourceOf } from "../queue/support.ts";
import { spanId } from "../support/numbers.ts";
import { RecordingLogger } from "../support/recording-logger.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

function inTemporaryDirectory(run: (directory: string) => void): void {
  using temporary = temporaryDirectory();
  run(temporary.path);
}

const TEXT = new TextEncoder();
const asText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

test("a request becomes one line of OTLP/JSON, by resource and scope", () => {
  const builder = new RequestBuilder();
  const [x, y] = [resourceOf("k", "x"), resourceOf("k", "y\u009b31m")];
  builder.append(builder.resource(x), payload([1, 2]), 0);
  builder.append(builder.resource(y), payload([3]), 0);
  builder.append(builder.resource(x), payload([1, 2]), 1);
  const line = deadLetterLine(builder.finish());
  assert.ok(!line.includes("\n"));
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
  assert.throws(() => deadLetterLine(Uint8Array.of(0x0a, 0x05, 1)), { name: "ProtobufError" });
});

test("a negative zero stays one", () => {
  const builder = new RequestBuilder();
  const key = [0x0a, 0x01, 0x6b];
  const value = [0x12, 0x09, 0x21, 0, 0, 0, 0, 0, 0, 0, 0x80];
  const resource = Uint8Array.of(0x0a, 0x10, 0x0a, 0x0e, ...key, ...value);
  builder.append(builder.resource(resource), payload([1]), 0);
  const { resourceSpans } = JSON.parse(deadLetterLine(builder.finish()));
  assert.deepEqual(resourceSpans[0].resource.attributes, [{
    key: "k",
    value: { doubleValue: "-0" },
  }]);
});

test("lines are appended to a file of 0600", () =>
  inTemporaryDirectory((directory) => {
    const path = join(directory, "dead.jsonl");
    const log = new RecordingLogger();
    for (const word of ["one", "two"]) {
      const file = DeadLetterFile.open(path);
      assert.equal(file.path, path);
      const writer = file.writer(asText, log);
      writer.write(TEXT.encode(word));
      writer.write(TEXT.encode(`${word}!`));
      file.close();
    }
    assert.equal(fs.readFileSync(path, "utf8"), "one\none!\ntwo\ntwo!\n");
    assert.equal(fs.statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(log.records, []);
  }));

test("the file is bounded, its failures are logged once, and it goes on when there is room", () =>
  inTemporaryDirectory((directory) => {
    const path = join(directory, "dead.jsonl");
    const log = new RecordingLogger();
    const file = DeadLetterFile.open(path, 10);
    const writer = file.writer(asText, log);
    for (const word of ["12345", "6789", "6789", "abc", "x"]) writer.write(TEXT.encode(word));
    assert.equal(fs.readFileSync(path, "utf8"), "12345\nabc\n");
    assert.equal(log.records.length, 2);
    assert.match(String(log.records[0]?.fields["error"]), /larger than 10 bytes/);
    // As a log rotation does it.
    fs.truncateSync(path);
    writer.write(TEXT.encode("again"));
    assert.equal(fs.readFileSync(path, "utf8"), "again\n");
    file.close();
    writer.write(TEXT.encode("closed"));
    assert.equal(log.records.length, 3);
  }));

test("a request that cannot be shown is no end of the process", () =>
  inTemporaryDirectory((directory) => {
    const log = new RecordingLogger();
    const file = DeadLetterFile.open(join(directory, "dead.jsonl"));
    file.writer(deadLetterLine, log).write(Uint8Array.of(0x0a, 0x05, 1));
    assert.equal(log.find("cannot write").length, 1);
    file.close();
  }));

test("what is no regular file is not opened", () =>
  inTemporaryDirectory((directory) => {
    const open = (name: string) => () => DeadLetterFile.open(join(directory, name));
    assert.throws(open("no/where"), { name: "DeadLetterError", message: /no\/where/ });
    fs.mkdirSync(join(directory, "folder"));
    assert.throws(open("folder"), { name: "DeadLetterError" });
    fs.symlinkSync("target", join(directory, "link"));
    assert.throws(open("link"), { name: "DeadLetterError" });
    assert.equal(fs.existsSync(join(directory, "target")), false);
    assert.throws(() => DeadLetterFile.open("/dev/null"), { message: /no regular file/ });
  }));

test("a file that logrotate has moved away is opened anew, with whatever it has made in its place", () =>
  inTemporaryDirectory((directory) => {
    const path = join(directory, "dead.jsonl");
    const log = new RecordingLogger();
    const file = DeadLetterFile.open(path);
    const writer = file.writer(asText, log);
    const descriptors = (): number => fs.readdirSync("/proc/self/fd").length;
    writer.write(TEXT.encode("one"));
    const before = descriptors();
    // nocreate, then create.
    fs.renameSync(path, `${path}.1`);
    writer.write(TEXT.encode("two"));
    fs.renameSync(path, `${path}.2`);
    fs.writeFileSync(path, "made by logrotate\n", { mode: 0o640 });
    writer.write(TEXT.encode("three"));
    writer.write(TEXT.encode("four"));
    fs.rmSync(path);
    writer.write(TEXT.encode("five"));
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
  inTemporaryDirectory((directory) => {
    const path = join(directory, "dead.jsonl");
    const log = new RecordingLogger();
    const file = DeadLetterFile.open(path);
    const writer = file.writer(asText, log);
    fs.renameSync(path, `${path}.1`);
    fs.symlinkSync("elsewhere", path);
    writer.write(TEXT.encode("one"));
    writer.write(TEXT.encode("two"));
    fs.rmSync(path);
    fs.mkdirSync(path);
    writer.write(TEXT.encode("three"));
    assert.equal(fs.readFileSync(`${path}.1`, "utf8"), "one\ntwo\nthree\n");
    assert.equal(fs.existsSync(join(directory, "elsewhere")), false);
    // Once for each reason.
    assert.deepEqual(log.records.map(({ level }) => level), ["warn", "warn"]);
    fs.rmdirSync(path);
    writer.write(TEXT.encode("four"));
    assert.equal(fs.readFileSync(path, "utf8"), "four\n");
    file.close();
  }));

test("a new file belongs to whoever goes on writing, an old one to whom it did", () =>
  inTemporaryDirectory((directory) => {
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
