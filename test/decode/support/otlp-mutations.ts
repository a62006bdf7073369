import { type Message, REQUEST } from "../../../src/decode/otlp/messages.ts";
import { scrambled } from "./mutations.ts";
import { join, varint } from "./otlp-message.ts";
import type { Random } from "./random.ts";

/** A message in a request: where its field begins, and where its content begins and ends. */
interface Place {
  readonly field: number;
  readonly content: number;
  readonly end: number;
  /** The messages around it, the outermost first. */
  readonly around: readonly Place[];
}

/** A varint, and the place behind it. */
function readVarint(bytes: Uint8Array, at: number): { value: number; next: number } {
  let value = 0;
  for (let unit = 1;; unit *= 0x80) {
    const byte = bytes[at++] ?? 0;
    value += (byte & 0x7f) * unit;
    if (byte < 0x80) return { value, next: at };
  }
}

/** All messages of a request, the request itself first. What is found in one that is not valid is of no use. */
function placesOf(request: Uint8Array): Place[] {
  const places: Place[] = [];
  const walk = (message: Message, place: Place): void => {
    places.push(place);
    const around = [...place.around, place];
    for (let at = place.content; at < place.end;) {
      const tag = readVarint(request, at);
      const wireType = tag.value & 7;
      const field = message.fields[tag.value >>> 3];
      if (wireType === 2) {
        const length = readVarint(request, tag.next);
        // In what is not valid, it may be anything.
        const end = Math.min(length.next + length.value, place.end);
        if (field?.message !== undefined) walk(field.message, { field: at, content: length.next, end, around });
        at = end;
      } else if (wireType === 0) at = readVarint(request, tag.next).next;
      else at = tag.next + (wireType === 1 ? 8 : 4);
    }
  };
  walk(REQUEST, { field: 0, content: 0, end: request.length, around: [] });
  return places;
}

/** The request with another content of one message; the lengths of all messages around it say so. */
function withContent(request: Uint8Array, place: Place, content: Uint8Array): Uint8Array {
  let bytes = content;
  for (const outer of [place, ...place.around.toReversed()].slice(0, -1)) {
    // Every message has a tag of one byte.
    const field = join(request.subarray(outer.field, outer.field + 1), varint(bytes.length), bytes);
    const around = outer.around.at(-1) as Place;
    bytes = join(request.subarray(around.content, outer.field), field, request.subarray(outer.end, around.end));
  }
  return bytes;
}

/** A valid request with each of its messages cut at each of its bytes, and nothing else wrong with it. */
export function* cutMessages(request: Uint8Array): Generator<Uint8Array> {
  for (const place of placesOf(request)) {
    for (let end = place.content; end < place.end; end++) {
      yield withContent(request, place, request.subarray(place.content, end));
    }
  }
}

/** A request with something wrong in one of its messages, whose length is right, as those around it are. */
export function wrongMessage(request: Uint8Array, random: Random): Uint8Array {
  const place = random.pick(placesOf(request));
  const content = request.subarray(place.content, place.end);
  if (random.oneIn(3)) return withContent(request, place, content.subarray(0, random.below(content.length + 1)));
  return withContent(request, place, scrambled(content, request, random));
}
