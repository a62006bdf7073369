import type { VsockAddress } from "./identity.ts";

/** socket(2) */
export const AF_VSOCK = 40;

/** `struct sockaddr_vm`, vsock(7): family u16, reserved u16, port u32, CID u32, four bytes of zero; host byte order. */
const SOCKADDR_VM_BYTES = 16;
const PORT_OFFSET = 4;
const CID_OFFSET = 8;

/** The address as the kernel takes it. Both architectures are little endian. */
export function vsockSockaddr(address: VsockAddress): Uint8Array {
  const view = new DataView(new ArrayBuffer(SOCKADDR_VM_BYTES));
  view.setUint16(0, AF_VSOCK, true);
  view.setUint32(PORT_OFFSET, address.port, true);
  view.setUint32(CID_OFFSET, address.cid, true);
  return new Uint8Array(view.buffer);
}

/** The address that the kernel gave. Throws if it is of another family or too short. */
export function readVsockSockaddr(bytes: Uint8Array): VsockAddress {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < SOCKADDR_VM_BYTES || view.getUint16(0, true) !== AF_VSOCK) {
    throw new TypeError(`no AF_VSOCK address in ${bytes.length} bytes`);
  }
  return { cid: view.getUint32(CID_OFFSET, true), port: view.getUint32(PORT_OFFSET, true) };
}
