#!/usr/bin/env bash
# namespaces.sh COMMAND...: runs it with networks, mounts and processes of its own, over a root that is thrown away.
# Whatever it starts ends with it, and nothing that it writes outside of /tmp and the cache is there afterwards. It needs
# to be root, util-linux and iproute2.
#
# The addresses stand for those of pods and services: kube-apiserver takes no loopback addresses as endpoints.
set -euo pipefail

if [ -z "${SCOPEGATE_INSIDE:-}" ]; then
    export SCOPEGATE_INSIDE=1
    exec unshare --net --mount --pid --fork --kill-child "$0" "$@"
fi

mount --make-rprivate /
ip link set lo up
for address in 10.1.0.{1,2,3,8,9} 10.1.1.1 10.1.2.{1,2,3}; do ip address add "$address/32" dev lo; done

# A root over the machine's.
layers="$(mktemp -d)"
mount -t tmpfs none "$layers"
mkdir "$layers"/{upper,work,root}
root="$layers/root"
mount -t overlay none -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" "$root"
mount -t proc none "$root/proc"
# Everything else that is mounted on the machine is there as it is.
while read -r place; do
    case "$place" in / | /proc | /proc/* | /run | /run/* | "$layers" | "$layers"/*) continue ;; esac
    if [ -d "$place" ]; then mkdir -p "$root$place" && mount --rbind "$place" "$root$place"; fi
done < <(findmnt --raw --noheadings --output TARGET --submounts / | awk '{ print length($0), $0 }' | sort -n | cut -d' ' -f2-)
# /tmp holds what tests leave for whoever reads it.
mountpoint -q "$root/tmp" || mount --rbind /tmp "$root/tmp"
for folder in "${SCOPEGATE_CACHE:-}" "${CARGO_TARGET_DIR:-}"; do
    if [ -n "$folder" ] && [ -d "$folder" ]; then mount --rbind "$folder" "$root$folder"; fi
done
mount -t tmpfs none "$root/run"
mkdir -p "$root/run/netns"
here="$PWD"
exec chroot "$root" env -C "$here" -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY "$@"
