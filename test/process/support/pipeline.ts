import { CollectorStub } from "../../support/collector-stub.ts";
import { type Forwarder, startForwarder } from "./forwarder.ts";
import type { RunOptions } from "./process.ts";
import { Sandbox } from "./sandbox.ts";

/** A stub collector that stops when it goes out of scope. */
export async function startStub(port = 0): Promise<CollectorStub & AsyncDisposable> {
  const stub = await CollectorStub.start(port);
  return Object.assign(stub, { [Symbol.asyncDispose]: () => stub.stop() });
}

/** A forwarder between a sandbox's socket and a stub collector. */
export class Pipeline implements AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly stub: CollectorStub;
  readonly forwarder: Forwarder;

  private constructor(sandbox: Sandbox, stub: CollectorStub, forwarder: Forwarder) {
    this.sandbox = sandbox;
    this.stub = stub;
    this.forwarder = forwarder;
  }

  static async start(args: readonly string[] = [], options: RunOptions = {}): Promise<Pipeline> {
    const sandbox = new Sandbox();
    const stub = await CollectorStub.start();
    try {
      const forwarder = await startForwarder(
        ["--socket-path", sandbox.socketPath, "--otlp-endpoint", stub.url, ...args],
        options,
      );
      return new Pipeline(sandbox, stub, forwarder);
    } catch (error) {
      await stub.stop();
      sandbox[Symbol.dispose]();
      throw error;
    }
  }

  /** The host's attributes for a guest's resource, without any option. */
  get host(): Readonly<Record<string, string>> {
    return { "service.name": "kata-agent", "kata.sandbox.id": this.sandbox.id, "kata.component": "agent" };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.forwarder[Symbol.asyncDispose]();
    await this.stub.stop();
    this.sandbox[Symbol.dispose]();
  }
}
