#!/bin/sh
# Makes all packages, and uses them: two builds are the same; the .deb and the .rpm are installed, upgraded and removed
# in a Debian 11 (glibc 2.31) that systemd has booted; the musl executables run on musl 1.2.5, the arm64 ones under
# emulation; the man page and the bills of materials are valid.
# Use: test/packages/packages.sh. Exit code 3: something is lacking, and which is said.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
lacking() { echo "test/packages/packages.sh: $1" >&2; exit 3; }
[ "$(id -u)" = 0 ] || lacking "root is needed, for other roots and a systemd of their own"
for tool in debootstrap:debootstrap systemd-nspawn:systemd-container mandoc:mandoc qemu-aarch64:qemu-user \
  buildah:buildah dpkg-deb:dpkg readelf:binutils python3:python3-venv; do
  command -v "${tool%%:*}" >/dev/null 2>&1 ||
    lacking "${tool%%:*} is not installed (Debian: apt-get install ${tool#*:})"
done
cache=${KTF_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/kata-trace-forwarder}/packages
mkdir -p "$cache"
nfpm=$(scripts/go-tool nfpm)
# Everything that is mounted goes with the mount namespace.
if [ "${KTF_PACKAGES_TEST:-}" != mounted ]; then
  KTF_PACKAGES_TEST=mounted exec unshare --mount --propagation private -- "$0"
fi
work=$(mktemp -d)
. test/packages/booted.sh
trap clean_up EXIT
trap 'exit 130' HUP INT TERM
mount -t tmpfs tmpfs "$work"

echo "== every package"
scripts/package >/dev/null 2>&1
packages=$root/dist/packages
(cd "$packages" && sha256sum --check --quiet SHA256SUMS && ls)
version=$(.toolchain/bin/bun -p 'require("./package.json").version')
[ "$(find "$packages" -type f | wc -l)" = 13 ] || { echo "there should be 13 files"; exit 1; }

echo "== the same sources make the same packages, wherever they are"
mkdir "$work/clone"
git ls-files -co --exclude-standard -z | xargs -0 cp --parents --no-dereference -t "$work/clone"
cp -R .git "$work/clone/.git" 2>/dev/null || cp .git "$work/clone/.git"
cp -R node_modules "$work/clone/node_modules"
ln -s "$root/.toolchain" "$work/clone/.toolchain"
(cd "$work/clone" && scripts/package linux-x64 >/dev/null 2>&1)
for file in "$work/clone/dist/packages"/*linux-x64* "$work/clone/dist/packages"/*amd64.deb \
  "$work/clone/dist/packages"/*x86_64.rpm; do
  cmp "$file" "$packages/$(basename "$file")"
  basename "$file"
done
rm -rf "$work/clone"

echo "== the man page"
files=$work/files
mkdir "$files"
tar -xzf "$packages/kata-trace-forwarder-$version-linux-x64.tar.gz" -C "$files" --strip-components 1
mandoc -T lint -W warning "$files/kata-trace-forwarder.1"
mandoc -T ascii "$files/kata-trace-forwarder.1" | sed 's/.\x08//g' >"$work/man-page"
grep -q -- "--all-hypervisors" "$work/man-page"
echo "nothing to complain of"

echo "== the bills of materials"
venv=$cache/python-$(sha256sum test/packages/requirements.txt | cut -c1-16)
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv" >&2 ||
    lacking "python3 cannot make a virtual environment (Debian: apt-get install python3-venv)"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r test/packages/requirements.txt >&2
fi
"$venv/bin/python" test/packages/bills.py "$packages"/*.cdx.json

echo "== the .deb and the .rpm in Debian 11"
debian=$cache/bullseye
if [ ! -e "$debian/done" ]; then
  rm -rf "$debian"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,rpm bullseye "$debian" http://deb.debian.org/debian \
    >"$work/debootstrap" 2>&1 || { tail -n 20 "$work/debootstrap"; exit 1; }
  : >"$debian/done"
fi
mkdir "$work/packages"
cp "$packages/kata-trace-forwarder_$version-1_amd64.deb" "$packages/kata-trace-forwarder-$version-1.x86_64.rpm" \
  "$work/packages"
# An earlier release, to upgrade from.
gzip -n -c "$files/kata-trace-forwarder.1" >"$files/kata-trace-forwarder.1.gz"
sed 's|/usr/local/bin/|/usr/bin/|' "$files/systemd/kata-trace-forwarder.service" >"$files/kata-trace-forwarder.service"
for packager in deb rpm; do
  PACKAGE_ARCH=amd64 PACKAGE_VERSION=0.1.0 PACKAGE_FILES=$files \
    "$nfpm" package --config deploy/packages/nfpm.yaml --packager "$packager" --target "$work/packages" >/dev/null
done
KTF_VERSION=$version in_debian "$debian" test/packages/lifecycle.sh

echo "== the image"
sh test/packages/image.sh "$debian" "$work"

echo "== the executables for musl and arm64"
sh test/packages/other-machines.sh "$packages" "$version" "$cache" "$venv" "$work"
