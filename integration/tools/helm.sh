#!/usr/bin/env bash
# Prints a folder with bin/helm, built with Go from integration/stack/helm once, into the cache: two minutes on two
# cores.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

module="$(cd "$(dirname "$0")/../stack/helm" && pwd)"
have go || die "no go to build helm with: install Go 1.26 or newer (https://go.dev/dl/)"

key="$({
    cat "$0" "$module"/go.mod "$module"/go.sum
    go version
} | sha256sum | cut -c1-12)"
folder="$SCOPEGATE_CACHE/stack/helm-$key"
wait_for_cache helm
if [ ! -d "$folder" ]; then
    say "building helm from source: two minutes, once"
    rm -rf "$folder.part"
    mkdir -p "$folder.part/bin"
    (cd "$module" && CGO_ENABLED=0 nice -n 10 go build -mod=readonly -trimpath \
        -gcflags "all=-dwarf=false -l" -ldflags "-s -w" -o "$folder.part/bin/" \
        helm.sh/helm/v3/cmd/helm </dev/null >&2)
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder"
