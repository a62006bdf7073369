import { HttpClient } from "../../receivers/support/http-post.ts";
import type { Forwarder } from "./forwarder.ts";

/** The type of a runtime's bodies, and of OTLP/JSON. */
export const THRIFT = { "content-type": "application/x-thrift" };
export const JSON_TYPE = { "content-type": "application/json" };

/** The port that a forwarder listens at for an option. */
export async function portOf(forwarder: Forwarder, option: string): Promise<number> {
  await forwarder.record("listening");
  const record = forwarder.recordsOf("listening to the host").find((each) => each["option"] === option);
  return Number(String(record?.["address"]).split(":").at(-1));
}

/** Posts bodies over one connection; returns the different statuses. */
export async function postBodies(
  port: number,
  bodies: readonly (Uint8Array | string)[],
  type: Readonly<Record<string, string>> = THRIFT,
): Promise<number[]> {
  const client = new HttpClient(port);
  const statuses = new Set<number>();
  const path = type === THRIFT ? "/api/traces" : "/v1/traces";
  for (const body of bodies) statuses.add((await client.post(path, body, type)).status);
  client.close();
  return [...statuses];
}
