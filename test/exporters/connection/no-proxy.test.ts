import assert from "node:assert/strict";
import { test } from "node:test";
import { readNoProxy } from "../../../src/exporters/connection/no-proxy.ts";

/** What an entry covers and what it does not: `HOST PORT`. */
const ENTRIES: readonly (readonly [entry: string, covered: readonly string[], not: readonly string[]])[] = [
  ["example.com", ["example.com 80", "a.example.com 80", "EXAMPLE.com 80", "example.com. 80"], [
    "badexample.com 80",
    "example.org 80",
  ]],
  [".example.com", ["example.com 80", "a.b.example.com 80"], ["badexample.com 80"]],
  ["*.example.com", ["a.example.com 80", "a.b.example.com 80"], ["example.com 80", "badexample.com 80"]],
  ["Example.COM.", ["example.com 80"], []],
  ["example.com:4317", ["example.com 4317", "a.example.com 4317"], ["example.com 80"]],
  ["*", ["example.com 80", "10.1.2.3 80", "::1 80"], []],
  ["collector", ["collector 80", "a.collector 1"], ["collectors 80"]],
  ["my_host-1", ["my_host-1 80"], []],
  ["10.1.2.3", ["10.1.2.3 80"], ["10.1.2.4 80", "110.1.2.3 80"]],
  ["10.1.2.3:4317", ["10.1.2.3 4317"], ["10.1.2.3 80"]],
  ["10.0.0.0/8", ["10.255.0.1 80"], ["11.0.0.1 80", "10.example.com 80", "::1 80"]],
  ["10.1.2.3/32", ["10.1.2.3 80"], ["10.1.2.4 80"]],
  ["10.0.0.0/8:4317", [], ["10.1.1.1 80"]],
  ["0.0.0.0/0", ["1.2.3.4 80"], ["example.com 80"]],
  ["fd00::/8", ["fd12::1 80"], ["fe80::1 80", "10.0.0.1 80"]],
  ["::1", ["::1 80", "0:0:0:0:0:0:0:1 80"], ["::2 80"]],
  ["[::1]", ["::1 80"], ["::2 80"]],
  ["[::1]:4317", ["::1 4317"], ["::1 80"]],
  ["localhost", ["localhost 80"], ["127.0.0.1 80"]],
];

for (const [entry, covered, not] of ENTRIES) {
  test(`no_proxy=${entry}`, () => {
    // Blanks around entries, and empty ones, are nothing.
    for (const value of [entry, ` ${entry} `, `a.test, ${entry},`, `a.test ${entry}`, `,${entry},b.test`]) {
      const { covers } = readNoProxy(value);
      const isCovered = (target: string): boolean => {
        const [host = "", port] = target.split(" ");
        return covers(host, Number(port));
      };
      assert.deepEqual(covered.filter((target) => !isCovered(target)), [], value);
      assert.deepEqual(not.filter(isCovered), [], value);
    }
  });
}

test("nothing is covered by nothing", () => {
  for (const value of ["", " ", ",", " , "]) {
    assert.equal(readNoProxy(value).covers("example.com", 80), false);
    assert.deepEqual(readNoProxy(value).unusable, []);
  }
});

test("entries that mean nothing are named, and the others count", () => {
  const { covers, unusable } = readNoProxy(
    "10.0.0.0/99,http://c/,<local>,10.0.0.0/x,fd00::/129,exa*mple.com,[::1,good.test",
  );
  assert.deepEqual(unusable, [
    "10.0.0.0/99",
    "http://c/",
    "<local>",
    "10.0.0.0/x",
    "fd00::/129",
    "exa*mple.com",
    "[::1",
  ]);
  assert.equal(covers("good.test", 80), true);
});
