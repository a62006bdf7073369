import { createServer } from "node:http";
import process from "node:process";

/** Answers 202 to every request once its body has come: the least that a client waits for on this machine. */
const server = createServer((request, response) => {
  request.resume().once("end", () => response.writeHead(202, { "content-length": 0 }).end());
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => process.stdout.write("listening\n"));
