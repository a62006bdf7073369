import process from "node:process";
import { loadLibc } from "../../../ffi/libc.ts";
import { AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, unixSockaddr } from "../../../ffi/sockets.ts";

/** connect-as.child.ts PATH UID GID GROUP: connects as somebody else, says how it went, and sends something. */
const [path = "", ...ids] = process.argv.slice(2);
const [uid = 0, gid = 0, group = 0] = ids.map(Number);
const libc = await loadLibc();
libc.setgroups([group]);
libc.setresgid(gid, gid, gid);
libc.setresuid(uid, uid, uid);
const socket = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
try {
  libc.connect(socket, unixSockaddr(path));
  console.log("connected");
} catch (error) {
  console.log(String(error));
}
try {
  libc.send(socket, new TextEncoder().encode("span"), 0);
} catch {
  // Refused at once, as the test sees.
}
