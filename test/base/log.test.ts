import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import {
  createLogger,
  describeError,
  jsonText,
  LOG_LEVELS,
  type LogFields,
  type Logger,
  type LogOptions,
  printable,
  rateLimited,
} from "../../src/base/log.ts";
import { VERSION } from "../../src/base/version.ts";

/** 2026-01-02T03:04:05.678Z */
const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

function logger(options: Partial<LogOptions> = {}): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const log = createLogger({
    level: "trace",
    format: "json",
    colour: false,
    write: (line) => void lines.push(line),
    now: () => NOW,
    ...options,
  });
  return { log, lines };
}

test("a JSON record has the keys that scripts read, in their order, and then its own", () => {
  const { log, lines } = logger();
  log.info("announce", { port: 10240, hybrid: false, path: "/run/x y" });
  assert.deepEqual(lines, [
    `{"msg":"announce","level":"INFO","ts":"2026-01-02T03:04:05.678Z","version":"${VERSION}",` +
    `"subsystem":"root","pid":"${process.pid}","name":"kata-trace-forwarder",` +
    `"source":"kata-trace-forwarder","port":10240,"hybrid":false,"path":"/run/x y"}\n`,
  ]);
});

test("levels have their short names, and records below the threshold are not written", () => {
  const names = ["TRCE", "DEBG", "INFO", "WARN", "ERRO", "CRIT"];
  for (const [threshold, level] of LOG_LEVELS.entries()) {
    const { log, lines } = logger({ level });
    for (const each of LOG_LEVELS) log.log(each, "x");
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as { level: string }).level),
      names.slice(threshold),
    );
  }
});

test("a subsystem's logger carries its name", () => {
  const { log, lines } = logger();
  log.of("delivery").warn("x");
  log.of("delivery").of("spool").debug("y");
  log.error("z");
  assert.deepEqual(lines.map((line) => JSON.parse(line).subsystem), ["delivery", "spool", "root"]);
});

test("a record's own keys cannot replace the base keys, and none is lost", () => {
  const { log, lines } = logger();
  log.info("true", { source: "guest", msg: "false", msg_: "other", ["__proto__"]: "p", 1: "one" });
  const line = lines[0] as string;
  assert.ok(line.endsWith(
    `"source":"kata-trace-forwarder","1":"one","source_":"guest","msg_":"false","msg__":"other",` +
      `"__proto__":"p"}\n`,
  ));
  assert.ok(line.startsWith('{"msg":"true",'));
});

test("undefined is left out, errors come with their causes, numbers stay exact", () => {
  const { log, lines } = logger();
  const error = new Error("cannot send", { cause: new Error("ECONNREFUSED", { cause: "why" }) });
  log.error("x", { missing: undefined, error, rate: 0.5, nan: NaN, big: 2 ** 53 });
  assert.ok((lines[0] as string).endsWith(
    `,"error":"cannot send: ECONNREFUSED: why","rate":0.5,"nan":null,"big":9007199254740992}\n`,
  ));
});

test("an error's description has each message once, and ends for any chain of causes", () => {
  assert.equal(describeError(new Error("a", { cause: new Error("a") })), "a");
  assert.equal(describeError(new Error("at a: b", { cause: new Error("b") })), "at a: b");
  assert.equal(describeError("text"), "text");
  assert.equal(describeError(new TypeError()), "TypeError");
  assert.equal(describeError(undefined), "");
  const loop = new Error("loop");
  loop.cause = new Error("other", { cause: loop });
  assert.equal(describeError(loop), "loop: other");
});

/** Text that could steer a terminal, hide or reorder text, or forge a line. */
const HOSTILE = [
  "\x1b[2J",
  "\x1b]0;title\x07",
  "\r\n",
  "\x7f",
  "\x9b31m",
  "\u2028",
  "\u2029",
  "\u202e",
  "\u2066",
  "\u200b",
  "\u061c",
  "\ufeff",
  "\u{e0041}",
  "\ud800",
  "\udc00x",
];

test("a guest's text reaches a terminal as text only, in either format", () => {
  for (const format of ["json", "text"] as const) {
    const { log, lines } = logger({ format });
    for (const text of HOSTILE) log.warn(`span ${text}`, { name: text, [text]: 1 });
    assert.equal(lines.length, HOSTILE.length);
    for (const line of lines) {
      // The line's own end is the only control; format characters and lone surrogates are gone too.
      assert.match(line, /^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+\n$/u);
    }
  }
});

test("escaping does not change the value that JSON stands for", () => {
  for (const text of [...HOSTILE, 'a"b\\c', "né 🙂 中"]) {
    assert.equal(JSON.parse(jsonText(text)), text);
  }
  assert.equal(jsonText("né 🙂"), '"né 🙂"');
  assert.equal(jsonText("\u{e0041}"), '"\\udb40\\udc41"');
});

test("printable text is shortened between characters", () => {
  assert.equal(printable("a\x1bb"), "a\\u{1b}b");
  assert.equal(printable("\u{e0041}"), "\\u{e0041}");
  assert.equal(printable("abc", 3), "abc");
  assert.equal(printable("abcd", 3), "abc…");
  assert.equal(printable("ab🙂c", 3), "ab…");
  assert.equal(printable("ab🙂c", 4), "ab🙂…");
});

test("a long text cannot fill the log", () => {
  const { log, lines } = logger();
  log.info("m".repeat(10_000), { text: "x".repeat(1_000_000) });
  assert.ok((lines[0] as string).length < 9000);
  assert.equal(JSON.parse(lines[0] as string).text, `${"x".repeat(4096)}…`);
});

test("text records quote what a reader could misread", () => {
  const { log, lines } = logger({ format: "text" });
  const fields: LogFields = {
    n: 1,
    plain: "vsock:3:1026",
    empty: "",
    spaced: "a b",
    forged: "x level=CRIT",
    quoted: 'a"b',
    escape: "\\u{1b}",
    control: "\x1b",
    error: new Error("it broke"),
  };
  log.info("guest connected", fields);
  assert.equal(
    lines[0],
    '2026-01-02T03:04:05.678Z INFO guest connected n=1 plain=vsock:3:1026 empty="" ' +
      'spaced="a b" forged="x level=CRIT" quoted="a\\"b" escape="\\\\u{1b}" control="\\u001b" ' +
      'error="it broke"\n',
  );
});

test("only the level is coloured, and only if colours are on", () => {
  const { log, lines } = logger({ format: "text", colour: true });
  log.error("x");
  log.log("critical", "\x1b[0m");
  assert.deepEqual(lines, [
    "2026-01-02T03:04:05.678Z \x1b[31mERRO\x1b[0m x\n",
    "2026-01-02T03:04:05.678Z \x1b[1;31mCRIT\x1b[0m \\u{1b}[0m\n",
  ]);
});

/** A rate-limited logger with a timer that the test controls. */
function limited(records: number) {
  const { log, lines } = logger();
  const timers: (() => void)[] = [];
  const schedule = (summarise: () => void, ms: number) => {
    assert.equal(ms, 10_000);
    timers.push(summarise);
  };
  const turn = () => timers.splice(0).forEach((timer) => timer());
  const seen = () =>
    lines.splice(0).map((line) => {
      const { msg, guest, n, suppressed } = JSON.parse(line);
      return [msg, guest, n, suppressed];
    });
  return { log: rateLimited(log, { records, schedule }), turn, seen, timers };
}

test("beyond its limit a guest's message is counted and summed up", () => {
  const { log, turn, seen } = limited(2);
  for (let n = 1; n <= 5; n++) log.warn("invalid", { guest: "a", n });
  log.warn("invalid", { guest: "b", n: 9 });
  log.warn("other", { guest: "a", n: 8 });
  assert.deepEqual(seen(), [
    ["invalid", "a", 1, undefined],
    ["invalid", "a", 2, undefined],
    ["invalid", "b", 9, undefined],
    ["other", "a", 8, undefined],
  ]);
  turn();
  assert.deepEqual(seen(), [["invalid", "a", 5, 3]]);
  turn();
  assert.deepEqual(seen(), []);
  log.warn("invalid", { guest: "a", n: 6 });
  assert.deepEqual(seen(), [["invalid", "a", 6, undefined]]);
});

test("each level and subsystem has a limit of its own, and records held back are written at the end", () => {
  const { log, seen } = limited(1);
  const wire = log.of("wire");
  log.warn("x", { n: 1 });
  log.info("x", { n: 2 });
  wire.warn("x", { n: 3 });
  wire.warn("x", { n: 4 });
  assert.deepEqual(seen().map(([, , n]) => n), [1, 2, 3]);
  log.flush();
  assert.deepEqual(seen(), [["x", undefined, 4, 1]]);
  log.flush();
  assert.deepEqual(seen(), []);
});

test("invented keys share one limit, and their memory is bounded", () => {
  const { log, seen, timers, turn } = limited(1);
  for (let n = 0; n < 5000; n++) log.warn("x", { guest: `g${n}`, n });
  assert.equal(seen().length, 1025);
  assert.equal(timers.length, 1025);
  turn();
  assert.deepEqual(seen(), [["x", "g4999", 4999, 5000 - 1025]]);
});

test("the summary is written when the interval ends", async () => {
  // The limiter's own timer does not keep the process alive, but this one does.
  const alive = setInterval(() => {}, 1000);
  const summary = await new Promise<string>((resolve) => {
    const write = (line: string) => {
      if (line.includes("suppressed")) resolve(line);
    };
    const log = createLogger({ level: "info", format: "text", colour: false, write });
    const limitedLog = rateLimited(log, { records: 1, intervalMs: 5 });
    for (let n = 1; n <= 3; n++) limitedLog.warn("x", { n });
  });
  clearInterval(alive);
  assert.match(summary, /WARN x n=3 suppressed=2\n$/);
});

test("in text, a record of many figures has one on each line", () => {
  const { log, lines } = logger({ format: "text" });
  const fields = Object.fromEntries(Array.from({ length: 13 }, (_, number) => [`figure${number}`, number]));
  log.info("figures", fields);
  const written = lines.join("");
  assert.equal(written.trimEnd().split("\n").length, 14);
  assert.match(written, /INFO figures\n {2}figure0=0\n {2}figure1=1\n/);
  log.info("few", { a: 1, b: undefined });
  assert.match(lines.at(-1) ?? "", /INFO few a=1\n$/);
});
