import assert from "node:assert/strict";
import type * as api from "../../../src/view/api.ts";
import { until } from "../../support/until.ts";
import type { Forwarder } from "./forwarder.ts";

/** A page that has exchanged the printed token for a session. */
export class Page {
  readonly #origin: string;
  readonly #cookie: string;

  private constructor(origin: string, cookie: string) {
    this.#origin = origin;
    this.#cookie = cookie;
  }

  static async open(url: string): Promise<Page> {
    const { origin, hash } = new URL(url);
    const body = JSON.stringify({ token: hash.slice("#token=".length) });
    const answer = await fetch(`${origin}/api/v1/session`, { method: "POST", body });
    assert.equal(answer.status, 200);
    return new Page(origin, answer.headers.get("set-cookie")?.split(";")[0] ?? "");
  }

  async get<Answer>(path: string): Promise<Answer> {
    const answer = await fetch(`${this.#origin}/api/v1${path}`, { headers: { cookie: this.#cookie } });
    assert.equal(answer.status, 200, path);
    return await answer.json() as Answer;
  }

  /** Waits until the list of sandboxes meets a condition. */
  async sandboxes(are: (list: api.SandboxList) => boolean): Promise<api.SandboxList> {
    let list = await this.get<api.SandboxList>("/sandboxes");
    await until(async () => are(list = await this.get("/sandboxes")), "the list of sandboxes is as it should be");
    return list;
  }
}

/** Where a forwarder serves its viewer, with the token. */
export async function viewerUrl(forwarder: Forwarder): Promise<string> {
  return String((await forwarder.record("serving the viewer"))["url"]);
}
