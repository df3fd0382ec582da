#!/usr/bin/env bash
# Prints a folder with the judges of queries, built once, into the cache:
#   promql        Prometheus' parser
#   mimir         the same with Mimir's fork of it
#   logql         Loki's parser
#   logql-short   the same for texts shorter than 4 KiB, ten times as quick
# Needs Go 1.26.5 or newer; versions and sums are pinned in integration/judge.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

judge="$(cd "$(dirname "$0")/../judge" && pwd)"
have go || die "no go to build the judges of queries with: install Go 1.26.5 or newer (https://go.dev/dl/)"

key="$({
    go version
    cat "$judge"/*/*.{go,mod,sum} "$0"
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

# Loki's parser copies a buffer as long as the longest query, 128 KiB, at every name that it
# meets. A build with a shorter longest query differs in nothing else.
shorten() {
    local loki short="$folder.part/loki" parser=pkg/logql/syntax/parser.go
    loki="$(cd "$judge/logql" && GOFLAGS=-mod=readonly go list -m -f '{{.Dir}}' github.com/grafana/loki/v3)"
    mkdir "$short"
    cp -R "$loki/pkg" "$loki/go.mod" "$short"
    chmod -R u+w "$short"
    sed 's/^const maxInputSize = 131072$/const maxInputSize = 4096/' "$loki/$parser" >"$short/$parser"
    ! cmp -s "$loki/$parser" "$short/$parser" || die "$parser no longer says how long a query may be"
    cp "$judge/logql/go.mod" "$folder.part/short.mod"
    cp "$judge/logql/go.sum" "$folder.part/short.sum"
    (cd "$judge/logql" && go mod edit -replace "github.com/grafana/loki/v3=$short" "$folder.part/short.mod")
    build logql logql-short -modfile="$folder.part/short.mod"
    rm -r "$short" "$folder.part"/short.*
}

wait_for_cache judge
if [ ! -d "$folder" ]; then
    say "building the judges of queries from source: about a minute, once"
    started=$SECONDS
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    build promql promql
    build promql mimir -modfile=mimir.mod
    build logql logql
    shorten
    mv "$folder.part" "$folder"
    say "judges: ready after $((SECONDS - started)) s"
fi
printf '%s\n' "$folder"
