#!/usr/bin/env bash
# Prints the path of cargo-cyclonedx, which lists what a crate is made of; built from crates.io into the cache, once.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

VERSION=0.5.9

folder="$SCOPEGATE_CACHE/cyclonedx-$VERSION"
wait_for_cache cyclonedx
if [ ! -x "$folder/bin/cargo-cyclonedx" ]; then
    say "building cargo-cyclonedx $VERSION, once"
    CARGO_TARGET_DIR="$folder.target" cargo install --quiet --locked --root "$folder" --version "$VERSION" cargo-cyclonedx >&2 ||
        die "cargo-cyclonedx cannot be built"
    rm -rf "$folder.target"
fi
printf '%s\n' "$folder/bin/cargo-cyclonedx"
