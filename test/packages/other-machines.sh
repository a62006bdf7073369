#!/bin/sh
# Runs the executables for musl and for arm64: as --version, and as the whole demo. Called by packages.sh with the
# packages' directory, the version, a cache, a Python environment and a directory to work in.
set -eu
packages=$1
version=$2
cache=$3
venv=$4
work=$5
# musl 1.2.5 is in Debian 13. This machine may be an older one, so its lists are kept apart.
musl=$cache/musl-1.2.5
mkdir -p "$musl"
from_debian_13() { # architecture package
  state=$work/apt-$1
  mkdir -p "$state/lists/partial" "$state/cache"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" \
    >"$state/sources.list"
  set -- "$1" "$2" -q -o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o "Dir::State::lists=$state/lists" -o "Dir::Cache=$state/cache" -o "APT::Architecture=$1" \
    -o "APT::Architectures::=$1" -o Acquire::Languages=none -o APT::Sandbox::User=root
  architecture=$1
  package=$2
  shift 2
  apt-get "$@" update >/dev/null
  (cd "$musl" && apt-get "$@" download "$package:$architecture" >/dev/null)
}

# A root directory with musl, and the C++ library of Alpine's compiler, which wheels for musl bring along.
musl_root() { # our machine, Debian's, Python's
  tree=$work/musl-$1
  mkdir -p "$tree/lib" "$tree/usr/lib" "$tree/proc" "$tree/tmp" "$work/wheel-$1" "$work/deb-$1"
  ls "$musl"/musl_1.2.5*_"$2".deb >/dev/null 2>&1 || from_debian_13 "$2" musl
  dpkg-deb -x "$musl"/musl_1.2.5*_"$2".deb "$work/deb-$1"
  cp "$work/deb-$1/usr/lib/$3-linux-musl/libc.so" "$tree/lib/ld-musl-$3.so.1"
  "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --platform "musllinux_1_2_$3" --python-version 312 --dest "$work/wheel-$1" -r test/packages/wheels.txt
  python3 -m zipfile -e "$work/wheel-$1"/*.whl "$work/wheel-$1"
  cp "$work/wheel-$1"/*.libs/lib* "$tree/usr/lib/"
  ln -s "$(basename "$tree"/usr/lib/libstdc++-*)" "$tree/usr/lib/libstdc++.so.6"
  ln -s "$(basename "$tree"/usr/lib/libgcc_s-*)" "$tree/usr/lib/libgcc_s.so.1"
  chmod 1777 "$tree/tmp"
  tar -xzf "$packages/kata-trace-forwarder-$version-linux-$1-musl.tar.gz" -C "$tree" --strip-components 1
}

says_its_target() { # target command...
  target=$1
  shift
  "$@" --version | grep -q "^linux-$target, Bun " || { echo "$target does not say what it is"; exit 1; }
  "$@" demo >"$work/demo-$target" || { cat "$work/demo-$target"; exit 1; }
  printf '%s: ' "$target"
  grep "spans in 27 traces" "$work/demo-$target"
}

# The oldest CPU that Bun runs on, and the oldest glibc whose symbols the executable needs.
mkdir "$work/x64"
tar -xzf "$packages/kata-trace-forwarder-$version-linux-x64.tar.gz" -C "$work/x64" --strip-components 1
chmod 755 "$work"
nehalem="setpriv --reuid 65534 --regid 65534 --clear-groups qemu-x86_64 -cpu Nehalem"
# shellcheck disable=SC2086 # one word an argument
(cd / && says_its_target x64 $nehalem "$work/x64/kata-trace-forwarder")
mkdir "$work/arm64"
tar -xzf "$packages/kata-trace-forwarder-$version-linux-arm64.tar.gz" -C "$work/arm64" --strip-components 1
for machine in x64 arm64; do
  newest=$(readelf --version-info --wide "$work/$machine/kata-trace-forwarder" | grep -o 'GLIBC_2\.[0-9]*' |
    sort -Vu | tail -n 1)
  echo "$machine: symbols up to $newest"
  case $newest in GLIBC_2.1[0-7]) ;; *) echo "README says 2.17"; exit 1 ;; esac
done

musl_root x64 amd64 x86_64
mount --bind /proc "$work/musl-x64/proc"
says_its_target x64-musl chroot --userspec=65534:65534 "$work/musl-x64" /kata-trace-forwarder

# As an ordinary user: the emulator has no seccomp, without which root's privileges are not dropped.
emulated="setpriv --reuid 65534 --regid 65534 --clear-groups qemu-aarch64 -L"
musl_root arm64 arm64 aarch64
chmod 755 "$work"
# shellcheck disable=SC2086 # one word an argument
(cd / && says_its_target arm64-musl $emulated "$work/musl-arm64" "$work/musl-arm64/kata-trace-forwarder")
# shellcheck disable=SC2086 # one word an argument
(cd / && says_its_target arm64 $emulated /usr/aarch64-linux-gnu "$work/arm64/kata-trace-forwarder")
