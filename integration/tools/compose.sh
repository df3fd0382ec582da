#!/usr/bin/env bash
# Prints the path of compose-check, which reads Compose files as `docker compose config` does;
# built once, into the cache. Needs Go 1.26 or newer; versions are pinned in
# integration/stack/compose.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

module="$(cd "$(dirname "$0")/../stack/compose" && pwd)"
have go || die "no go to build compose-check with: install Go 1.26 or newer (https://go.dev/dl/)"

key="$(cat "$module"/go.mod "$module"/go.sum "$module"/*.go "$0" | sha256sum | cut -c1-16)"
folder="$SCOPEGATE_CACHE/stack/compose-$key"
wait_for_cache compose
if [ ! -d "$folder" ]; then
    say "building compose-check"
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    (cd "$module" && CGO_ENABLED=0 nice -n 10 go build -mod=readonly -trimpath -gcflags "all=-dwarf=false -l" -ldflags "-s -w" \
        -o "$folder.part/compose-check" . </dev/null >&2)
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder/compose-check"
