import net from "node:net";
import process from "node:process";

/** Connects to the port that is its first argument, and stays until its standard input ends. */
const socket = net.connect(Number(process.argv[2]), "127.0.0.1", () => console.log("connected"));
process.stdin.on("end", () => socket.destroy());
process.stdin.resume();
