import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import {
  address,
  bytes,
  cid,
  duration,
  flag,
  integer,
  listed,
  mode,
  oneOf,
  orOff,
  path,
  quoted,
  resourceAttributes,
  showBytes,
  text,
  trueOrFalse,
  UsageError,
} from "../../src/options/values.ts";

/** Asserts that each text is refused with a message that quotes it and matches `message`. */
function refuses(parse: (value: string) => unknown, texts: readonly string[], message: RegExp) {
  for (const value of texts) {
    assert.throws(() => parse(value), (error) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, message, `for ${JSON.stringify(value)}`);
      assert.ok(!error.message.includes("\n"));
      return true;
    }, `${JSON.stringify(value)} was accepted`);
  }
}

test("a size is bytes, or a number with a binary unit", () => {
  const size = bytes(1, 4 * 1024 ** 3);
  for (
    const [given, expected] of [
      ["1", 1],
      ["4194304", 4 * 1024 ** 2],
      ["4MiB", 4 * 1024 ** 2],
      ["64M", 64 * 1024 ** 2],
      ["64m", 64 * 1024 ** 2],
      ["8 KiB", 8192],
      ["1GiB", 1024 ** 3],
      ["4G", 4 * 1024 ** 3],
    ] as const
  ) assert.equal(size(given), expected, given);
  assert.equal(bytes(1)("1TiB"), 1024 ** 4);
  refuses(size, ["", "M", "4MB", "4 megabytes", "1.5M", "-1", "1e3", "0x10", " 4M"], /invalid size/);
  refuses(size, ["0", "5G", "9999999999999999T"], /is out of range: give 1 byte to 4 GiB/);
});

test("a size without an upper bound only has to be large enough", () => {
  refuses(bytes(2048), ["1K"], /"1K" is out of range: give 2 KiB or more$/);
});

test("sizes are shown in the largest unit that is exact", () => {
  assert.equal(showBytes(4 * 1024 ** 2), "4 MiB");
  assert.equal(showBytes(1536), "1536 bytes");
  assert.equal(showBytes(1024 ** 4), "1 TiB");
  assert.equal(showBytes(3 * 1024), "3 KiB");
});

test("a time is seconds, or a number with a unit, in milliseconds", () => {
  const time = duration(0);
  for (
    const [given, expected] of [
      ["10s", 10_000],
      ["500ms", 500],
      ["2m", 120_000],
      ["1h", 3_600_000],
      ["3", 3000],
      ["0.25", 250],
      ["1.5s", 1500],
      ["0", 0],
    ] as const
  ) assert.equal(time(given), expected, given);
  refuses(time, ["", "s", "10 seconds", "-1", "1d", "1e3", ".5", "5S"], /invalid time/);
  refuses(time, ["600h", "2147483.648"], /out of range/);
  assert.equal(time("2147483.647"), 2 ** 31 - 1);
  refuses(duration(1), ["0", "0.1ms"], /out of range: give 1 ms to/);
});

test("off stands for 0 if a limit is optional", () => {
  const limit = orOff(duration(1));
  assert.equal(limit("off"), 0);
  assert.equal(limit("0"), 0);
  assert.equal(limit("2s"), 2000);
  refuses(limit, ["never"], /invalid time "never"/);
});

test("a whole number is decimal, exact and within its bounds", () => {
  const port = integer(1, 2 ** 32 - 1);
  assert.equal(port("1"), 1);
  assert.equal(port("10240"), 10240);
  assert.equal(port("4294967295"), 4294967295);
  refuses(
    port,
    ["", "0", "4294967296", "-1", "+1", "1.0", "1e3", "0x10", "abc", "1 ", "99999999999999999999"],
    /is not a whole number from 1 to 4294967295/,
  );
  refuses(integer(1), ["0"], /is not a whole number, at least 1/);
});

test("a CID is any or 32 bits", () => {
  assert.equal(cid("any"), "any");
  assert.equal(cid("0"), 0);
  assert.equal(cid("3"), 3);
  assert.equal(cid("4294967294"), 4294967294);
  assert.equal(cid("4294967295"), "any");
  refuses(cid, ["", "ANY", "4294967296", "-1", "3.0", "0x3", "host"], /invalid CID/);
});

test("a mode is three octal digits", () => {
  assert.equal(mode("0660"), 0o660);
  assert.equal(mode("777"), 0o777);
  assert.equal(mode("0o600"), 0o600);
  refuses(mode, ["", "66", "0888", "1777", "rw-rw----", "06600"], /invalid mode/);
});

test("an address needs only a port, and without a host it is the loopback address", () => {
  assert.deepEqual(address("9464"), { host: "127.0.0.1", port: 9464 });
  assert.deepEqual(address(":9464"), { host: "127.0.0.1", port: 9464 });
  assert.deepEqual(address("0.0.0.0:80"), { host: "0.0.0.0", port: 80 });
  assert.deepEqual(address("localhost:0"), { host: "localhost", port: 0 });
  assert.deepEqual(address("[::1]:9464"), { host: "::1", port: 9464 });
  assert.deepEqual(address("[fe80::1%eth0]:9464"), { host: "fe80::1%eth0", port: 9464 });
  refuses(
    address,
    ["", "host", "host:", "::1:9464", "1:2:3", "host:65536", "http://host:1", "[]:1", "a b:1"],
    /invalid address/,
  );
});

test("words, texts, paths and switches are checked", () => {
  const colour = oneOf(["red", "green", "blue"]);
  assert.equal(colour("green"), "green");
  refuses(colour, ["", "Red", "yellow"], /is not supported: give red, green or blue/);
  assert.equal(text("x"), "x");
  refuses(text, [""], /^may not be empty$/);
  assert.equal(path("/a/b/../c/"), "/a/c");
  assert.equal(path("c"), `${process.cwd() === "/" ? "" : process.cwd()}/c`);
  refuses(path, [""], /^may not be empty$/);
  for (const yes of ["true", "TRUE", "1", "yes", "on"]) assert.equal(flag(yes), true, yes);
  for (const no of ["false", "False", "0", "no", "off"]) assert.equal(flag(no), false, no);
  refuses(flag, ["", "y", "2", "truee"], /is neither true nor false/);
  assert.equal(listed(["a"]), "a");
  assert.equal(listed(["a", "b"]), "a or b");
});

test("quoted text is short, on one line, and harmless", () => {
  assert.equal(quoted("a\n\x1b[2Jb"), '"a\\u{a}\\u{1b}[2Jb"');
  assert.equal(quoted("x".repeat(100)), `"${"x".repeat(80)}…"`);
});

test("resource attributes are percent-decoded key=value pairs", () => {
  assert.deepEqual(
    [...resourceAttributes("host.name=a, deployment.environment = pro%20d ,empty=,a%2Cb=c%3Dd,")],
    [["host.name", "a"], ["deployment.environment", "pro d"], ["empty", ""], ["a,b", "c=d"]],
  );
  assert.deepEqual([...resourceAttributes("a=1,a=2")], [["a", "2"]]);
  assert.deepEqual([...resourceAttributes("k=%C3%A9+")], [["k", "é+"]]);
  assert.equal(resourceAttributes("").size, 0);
  refuses(resourceAttributes, ["a", "=b", " =b", "a=b=c", "a=1,b"], /is not key=value/);
  refuses(resourceAttributes, ["a=%", "a=%zz", "%ff=b"], /is not percent-encoded UTF-8/);
});

test("quotation marks that a deployment tool left in resource attributes are refused", () => {
  for (const given of ['a="prod"', '"a=prod', "'a=prod", "a='prod'", 'a=b,"c"=d', 'a=5"']) {
    assert.throws(() => resourceAttributes(given), {
      name: "UsageError",
      message: /has quotation marks: leave them out/,
    }, given);
  }
  assert.deepEqual([...resourceAttributes("a=O'Brien,b=%22x%22")], [["a", "O'Brien"], ["b", '"x"']]);
});

test("some switches accept true and false only", () => {
  assert.deepEqual(["true", "TRUE", " False "].map(trueOrFalse), [true, true, false]);
  for (const given of ["1", "yes", "", "on"]) {
    assert.throws(() => trueOrFalse(given), /is neither true nor false/, given);
  }
});
