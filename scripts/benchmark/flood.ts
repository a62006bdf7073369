import { connect } from "node:net";
import process from "node:process";
import { fixture } from "../../test/decode/support/fixtures.ts";

/** Writes recorded frames into a socket over so many connections, as fast as it is read, until it is killed. */
const [address = "", guests = "1"] = process.argv.slice(2);
const stream = Buffer.concat(Array.from({ length: 200 }, () => fixture("session-isolated").bincodeStream));
for (let i = 0; i < Number(guests); i++) {
  const socket = connect(address);
  socket.on("error", () => process.exit());
  const write = (): void => {
    while (socket.write(stream));
  };
  socket.on("drain", write);
  socket.on("connect", write);
}
