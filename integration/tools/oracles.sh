#!/usr/bin/env bash
# Prints a folder with the oracles of PromQL, built once, into the cache:
#   promql   Prometheus' parser
#   mimir    the same with Mimir's fork of it
# Needs Go 1.26.5 or newer; versions and sums are pinned in integration/oracles.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

oracle="$(cd "$(dirname "$0")/../oracles" && pwd)"
have go || die "no go to build the oracles of PromQL with: install Go 1.26.5 or newer (https://go.dev/dl/)"

key="$({
    go version
    cat "$oracle"/promql/*.{go,mod,sum} "$0"
} | sha256sum | cut -c1-12)"
folder="$SCOPEGATE_CACHE/stack/oracle-$key"

# build MODULE FILE FLAGS...
build() {
    local module="$1" file="$2"
    shift 2
    (cd "$oracle/$module" &&
        CGO_ENABLED=0 GOFLAGS="-buildvcs=false" nice -n 10 \
            go build -mod=readonly -trimpath -gcflags "all=-dwarf=false -l" -ldflags "-s -w" "$@" -o "$folder.part/$file" . </dev/null >&2)
}

wait_for_cache oracle
if [ ! -d "$folder" ]; then
    say "building the oracles of PromQL from source: about a minute, once"
    started=$SECONDS
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    build promql promql
    build promql mimir -modfile=mimir.mod
    mv "$folder.part" "$folder"
    say "oracles: ready after $((SECONDS - started)) s"
fi
printf '%s\n' "$folder"
