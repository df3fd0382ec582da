#!/usr/bin/env bash
# Prints the path of mdBook, which makes a site of docs/: $MDBOOK, the one on PATH, or one that
# is built from crates.io into the cache.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

VERSION=0.5.4

if [ -n "${MDBOOK:-}" ]; then
    [ -x "$MDBOOK" ] || die "MDBOOK=$MDBOOK cannot be run"
    printf '%s\n' "$MDBOOK"
    exit
fi
if have mdbook; then
    found="$(mdbook --version | sed 's/^mdbook v//')"
    if at_least "$VERSION" "$found"; then
        command -v mdbook
        exit
    fi
    say "mdbook on PATH is version $found, older than $VERSION: building another"
fi

folder="$SCOPEGATE_CACHE/mdbook-$VERSION"
wait_for_cache mdbook
if [ ! -x "$folder/bin/mdbook" ]; then
    say "building mdBook $VERSION, once"
    # Without what serves and watches: a file in a browser will do.
    CARGO_TARGET_DIR="$folder.target" cargo install --quiet --locked --root "$folder" --version "$VERSION" \
        --no-default-features --features search mdbook >&2 ||
        die "mdBook cannot be built: install mdbook $VERSION or newer and set MDBOOK to its binary"
    rm -rf "$folder.target"
fi
printf '%s\n' "$folder/bin/mdbook"
