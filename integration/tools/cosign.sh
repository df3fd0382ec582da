#!/usr/bin/env bash
# Prints a folder with what reads a release as its users do, built once with Go from integration/release, into the cache:
#   cosign   verifies signatures
#   crane    a registry of images, and what pushes to it
set -euo pipefail
. "$(dirname "$0")/deps.sh"

module="$(cd "$(dirname "$0")/../release" && pwd)"
have go || die "no go to build cosign with: install Go 1.26 or newer (https://go.dev/dl/)"

key="$({
    go version
    cat "$module"/go.mod "$module"/go.sum
} | sha256sum | cut -c1-12)"
folder="$SCOPEGATE_CACHE/stack/cosign-$key"
wait_for_cache cosign
if [ ! -d "$folder" ]; then
    say "building cosign and crane from source: ten minutes, once"
    rm -rf "$folder.part"
    (cd "$module" && CGO_ENABLED=0 GOBIN="$folder.part" GOFLAGS="-mod=readonly" nice -n 10 \
        go install -trimpath -gcflags "all=-dwarf=false -l" -ldflags "-s -w" tool </dev/null >&2)
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder"
