#!/bin/sh
# Builds the image on a base made with debootstrap, since no registry may be reachable, and runs it. Called by
# packages.sh with a Debian's root directory and a directory to work in. Not rootless: the container is a chroot
# (buildah's isolation without namespaces), which also works within another container.
set -eu
debian=$1
work=$2
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
export HOME="$work/home" XDG_RUNTIME_DIR="$work/run" CONTAINERS_STORAGE_CONF="$work/storage.conf"
mkdir -p "$HOME" "$XDG_RUNTIME_DIR" "$work/store"
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/store"\nrunroot = "%s/run"\n' "$work" "$work" \
  >"$CONTAINERS_STORAGE_CONF"
base=$(buildah from scratch)
# Only what the executable loads, and the users: what the distroless base has of it.
mkdir -p "$work/base/etc"
cp "$debian/etc/passwd" "$debian/etc/group" "$debian/etc/nsswitch.conf" "$work/base/etc/"
mkdir -p "$work/base/lib/x86_64-linux-gnu" "$work/base/lib64"
# Links in it lead out of it, so that the loader is copied under its own name.
cp "$debian/lib/x86_64-linux-gnu/ld-2.31.so" "$work/base/lib64/ld-linux-x86-64.so.2"
for name in libc.so.6 libpthread.so.0 libdl.so.2 libm.so.6 libnss_files.so.2; do
  cp -L "$debian/lib/x86_64-linux-gnu/$name" "$work/base/lib/x86_64-linux-gnu/"
done
mkdir -m 1777 "$work/base/tmp"
mkdir "$work/base/proc"
buildah copy --quiet "$base" "$work/base" / >/dev/null
buildah commit --quiet "$base" localhost/base >/dev/null
image=$(KTF_ENGINE=buildah scripts/image --build-arg BASE=localhost/base 2>"$work/said") ||
  { cat "$work/said"; exit 1; }
entry=$(buildah inspect --type image --format '{{.OCIv1.Config.Entrypoint}}' "$image")
[ "$entry" = "[/usr/local/bin/kata-trace-forwarder]" ] || { echo "the entry point is $entry"; exit 1; }
container=$(buildah from --pull-never "$image")
# The demo's exit code says whether every field has arrived. What a container prints as it ends is sometimes lost by
# this isolation, so that the rest is run in the image's file system.
buildah run "$container" -- /usr/local/bin/kata-trace-forwarder demo >/dev/null
mounted=$(buildah mount "$container")
mount --bind /proc "$mounted/proc"
chroot "$mounted" /usr/local/bin/kata-trace-forwarder --version
chroot "$mounted" /usr/local/bin/kata-trace-forwarder licenses | cmp - dist/image/THIRD-PARTY-NOTICES
umount "$mounted/proc"
cmp dist/image/THIRD-PARTY-NOTICES "$mounted/usr/share/doc/kata-trace-forwarder/THIRD-PARTY-NOTICES"
echo "$image: built with $(buildah --version), and run"
buildah rm --all >/dev/null
