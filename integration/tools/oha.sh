#!/usr/bin/env bash
# Prints the path of oha, which sends requests at a fixed rate in `make bench` and counts each latency from when its
# request was due: $OHA, the one on PATH, or one built from crates.io, once, into the cache. Its licence is MIT.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

PINNED=1.16.0

if [ -n "${OHA:-}" ]; then
    [ -x "$OHA" ] || die "OHA=$OHA cannot be run"
    printf '%s\n' "$OHA"
    exit
fi
if have oha; then
    command -v oha
    exit
fi

folder="$SCOPEGATE_CACHE/oha-$PINNED"
wait_for_cache oha
if [ ! -x "$folder/bin/oha" ]; then
    have cargo || die "no cargo to build oha with: install Rust, or set OHA to its binary"
    have cc || die "no cc: install a C compiler (Debian: gcc) for the C code in oha, or set OHA to its binary"
    say "building oha $PINNED from crates.io: about ten minutes, once"
    rm -rf "$folder.part"
    # With its TLS, which nobody uses here: oha does not compile without. What the build leaves behind is removed.
    CARGO_TARGET_DIR="$folder.part/target" \
        cargo install --quiet --locked --no-track --root "$folder.part" "oha@$PINNED" </dev/null >&2 ||
        { rm -rf "$folder.part"; die "crates.io gave no oha $PINNED, or it could not be built: set OHA to its binary"; }
    rm -rf "$folder.part/target" "$folder"
    mv "$folder.part" "$folder"
fi
"$folder/bin/oha" --version >/dev/null || die "$folder/bin/oha does not run on this machine: set OHA to its binary"
printf '%s\n' "$folder/bin/oha"
