import assert from "node:assert/strict";
import { test } from "node:test";
import { Fifo } from "../../src/base/fifo.ts";

test("items come out as they went in, whatever is added in between", () => {
  const fifo = new Fifo<number>();
  const taken: number[] = [];
  let next = 0;
  // Grows and shrinks many times over, through zero too.
  for (let round = 0; round < 200; round++) {
    for (let i = 0; i < round % 37; i++) fifo.push(next++);
    for (let i = 0; i < round % 41; i++) {
      const item = fifo.shift();
      if (item === undefined) break;
      taken.push(item);
    }
  }
  assert.deepEqual([...taken, ...fifo], Array.from({ length: next }, (_, i) => i));
  assert.equal(fifo.length, next - taken.length);
});

test("the first stays when it is looked at, and an empty list has none", () => {
  const fifo = new Fifo<string>();
  assert.deepEqual([fifo.first(), fifo.shift(), fifo.length], [undefined, undefined, 0]);
  fifo.push("a");
  fifo.push("b");
  assert.deepEqual([fifo.first(), fifo.first(), fifo.length], ["a", "a", 2]);
});

test("a filter keeps the order of what is wanted, and what was taken stays gone", () => {
  const fifo = new Fifo<number>();
  for (let i = 0; i < 10; i++) fifo.push(i);
  fifo.shift();
  fifo.filter((item) => item % 2 === 1);
  assert.deepEqual([...fifo], [1, 3, 5, 7, 9]);
  fifo.push(10);
  assert.equal(fifo.shift(), 1);
  assert.deepEqual([...fifo], [3, 5, 7, 9, 10]);
});

test("the first of a kind is taken from wherever it is, and the others keep their order", () => {
  const fifo = new Fifo<number | string>();
  for (const item of ["gone", 1, "a", 2, "b", 3]) fifo.push(item);
  fifo.shift();
  const isText = (item: number | string): item is string => typeof item === "string";
  assert.equal(fifo.shiftFirst(isText), "a");
  assert.deepEqual([...fifo], [1, 2, "b", 3]);
  assert.equal(fifo.shiftFirst((item): item is number => !isText(item)), 1);
  assert.equal(fifo.shiftFirst(isText), "b");
  assert.deepEqual([fifo.shiftFirst(isText), fifo.length], [undefined, 2]);
  assert.deepEqual([fifo.shift(), fifo.shift(), fifo.shift()], [2, 3, undefined]);
});
