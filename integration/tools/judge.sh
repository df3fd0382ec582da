#!/usr/bin/env bash
# Prints a folder with the judges of PromQL, built once, into the cache:
#   promql   Prometheus' parser
#   mimir    the same with Mimir's fork of it
# Needs Go 1.26.5 or newer; versions and sums are pinned in integration/judge.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

judge="$(cd "$(dirname "$0")/../judge" && pwd)"
have go || die "no go to build the judges of PromQL with: install Go 1.26.5 or newer (https://go.dev/dl/)"

key="$({
    go version
    cat "$judge"/promql/*.{go,mod,sum} "$0"
} | sha256sum | cut -c1-12)"
folder="$SCOPEGATE_CACHE/stack/judge-$key"

# build MODULE FILE FLAGS...
build() {
    local module="$1" file="$2"
    shift 2
    (cd "$judge/$module" &&
        CGO_ENABLED=0 GOFLAGS="-buildvcs=false" nice -n 10 \
            go build -mod=readonly -trimpath -ldflags "-s -w" "$@" -o "$folder.part/$file" . </dev/null >&2)
}

wait_for_cache judge
if [ ! -d "$folder" ]; then
    say "building the judges of PromQL from source: about a minute, once"
    started=$SECONDS
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    build promql promql
    build promql mimir -modfile=mimir.mod
    mv "$folder.part" "$folder"
    say "judges: ready after $((SECONDS - started)) s"
fi
printf '%s\n' "$folder"
