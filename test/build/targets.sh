#!/bin/sh
# Builds the executable for every target, checks whom each is for, and runs the arm64 one's demo under emulation.
# Use: test/build/targets.sh. Exit code 3: something is lacking, and which is said.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
lacking() { echo "test/build/targets.sh: $1" >&2; exit 3; }
command -v readelf >/dev/null 2>&1 || lacking "readelf is not installed (Debian: apt-get install binutils)"
command -v qemu-aarch64 >/dev/null 2>&1 || lacking "qemu-aarch64 is not installed (Debian: apt-get install qemu-user)"
[ -e /usr/aarch64-linux-gnu/lib/libc.so.6 ] ||
  lacking "arm64's libc is not there (Debian: apt-get install libc6-arm64-cross)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
chmod 755 "$work"

failed=0
# What the executable is for: the machine it names, and the C library that loads it.
check() { # target machine loader
  scripts/build "$1" "$work/$1" >/dev/null 2>&1 || { echo "$1: it does not build" >&2; failed=1; return; }
  machine=$(readelf --file-header "$work/$1" | sed -n 's/^ *Machine: *//p')
  loader=$(readelf --program-headers "$work/$1" | sed -n 's/.*program interpreter: \(.*\)]/\1/p')
  if [ "$machine" = "$2" ] && [ "$loader" = "$3" ]; then echo "$1: for $machine, $loader"; return; fi
  echo "$1: for $machine, $loader; expected $2, $3" >&2
  failed=1
}
check bun-linux-x64 "Advanced Micro Devices X86-64" /lib64/ld-linux-x86-64.so.2
check bun-linux-arm64 AArch64 /lib/ld-linux-aarch64.so.1
check bun-linux-x64-musl "Advanced Micro Devices X86-64" /lib/ld-musl-x86_64.so.1
check bun-linux-arm64-musl AArch64 /lib/ld-musl-aarch64.so.1
[ "$failed" = 0 ] || exit 1

# As an ordinary user: the emulator has no seccomp, without which root's privileges are not dropped.
chmod 755 "$work/bun-linux-arm64"
run=
if [ "$(id -u)" = 0 ]; then run="setpriv --reuid 65534 --regid 65534 --clear-groups"; fi
# shellcheck disable=SC2086 # one word an argument
(cd / && $run qemu-aarch64 -L /usr/aarch64-linux-gnu "$work/bun-linux-arm64" demo) >"$work/demo"
tail -n 1 "$work/demo"
