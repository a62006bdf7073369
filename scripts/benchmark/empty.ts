// The least that a program on Bun with a listening socket is, which the forwarder's start and memory are compared with.
// Use: empty SOCKET
import process from "node:process";

Bun.listen({ unix: process.argv[2] ?? "", socket: { data: () => {} } });
