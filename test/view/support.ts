import { performance } from "node:perf_hooks";
import { ApiHandler, type ApiResponse } from "../../src/view/server/api-handler.ts";
import type { TraceStore } from "../../src/store/trace-store.ts";
import { agentRecords, incoming, memoryStore, runtimeRecords } from "../store/support.ts";
import { REAL_STREAMS } from "../decode/support/recorded-streams.ts";

/** A full sandbox ID. */
export const SANDBOX = "61770081df53a60a0ecbb336f4e3cec061770081df53a60a0ecbb336f4e3cec0";

export function stream(name: string): (typeof REAL_STREAMS)[number] {
  const found = REAL_STREAMS.find(({ file }) => file.includes(name));
  if (found === undefined) throw new Error(`no stream ${name}`);
  return found;
}

/** A store with the real agent's session, and with the recorded sandbox of the Go runtime and its agent. */
export function recordedStore(): TraceStore {
  const store = memoryStore();
  store.add(
    incoming(
      "guest",
      agentRecords(stream("4.1.0-session.json"), { "kata.sandbox.id": SANDBOX, "service.name": "kata-agent" }),
    ),
  );
  store.add(
    incoming("file", [
      ...runtimeRecords("go-session"),
      ...runtimeRecords("collated-agent", { "service.name": "kata-agent" }),
    ]),
  );
  return store;
}

export function handlerOf(store: TraceStore): ApiHandler {
  return new ApiHandler(store, () => performance.now());
}

/** Asks the API for JSON. */
export function ask<Answer>(handler: ApiHandler, url: string): Answer {
  return JSON.parse(textOf(answerTo(handler, url))) as Answer;
}

export function answerTo(handler: ApiHandler, url: string): ApiResponse {
  const { pathname, searchParams } = new URL(url, "http://localhost");
  return handler.answer({ method: "GET", path: pathname, query: searchParams });
}

export function textOf({ body }: ApiResponse): string {
  return typeof body === "string" ? body : new TextDecoder().decode(body);
}
