#!/usr/bin/env bash
# Builds or fetches one part of the real stack and prints the folder of its programs.
#
#   part.sh loki         loki, logcli        built with Go from integration/stack/loki
#   part.sh mimir        mimir               built with Go from integration/stack/mimir
#   part.sh collector    otelcol             built with Go from integration/stack/collector
#   part.sh prometheus   prometheus, promtool  built with Go from integration/stack/prometheus
#   part.sh dex          dex                 built with Go and a C compiler from integration/stack/dex
#   part.sh keycloak     a Keycloak, optimised for a quick start; fetched with Maven, runs on Java
#
# What is built lies in the cache under a name that is made of what it is built from, so
# that a second call prints a path and does nothing else.
#
# Go compiles here, and in the scripts beside this one, without inlining (-l) and without
# what a debugger reads (-dwarf=false): the programs are as they are published but for their
# speed, and are there in two thirds of the time.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

part="${1:?usage: part.sh loki|mimir|collector|prometheus|dex|keycloak}"
source_folder="$(cd "$(dirname "$0")/../stack" && pwd)/$part"

KEYCLOAK=26.5.5
KEYCLOAK_SHA256=5cd606f5e23ff77d9991ce55bab4a2ea529f05f7e16e24c1f270c6f360b50988
MAVEN_DEPENDENCY_PLUGIN=3.8.1

# Go that is old fetches a newer one by itself, unless it was told not to.
need_go() {
    have go || die "no go: install Go 1.26.5 or newer (https://go.dev/dl/) for $part"
}

need_c() {
    have cc || die "no cc: install a C compiler (Debian: gcc) for the SQLite in $part"
}

need_java() {
    have java || die "no java: install OpenJDK 17 or newer (Debian: openjdk-17-jre-headless) for Keycloak"
    have mvn || die "no mvn: install Maven 3 (Debian: maven) for Keycloak"
    have python3 || die "no python3: install it for Keycloak's archive"
}

# go_install TAGS FOLDER: every `tool` of the module in the working folder.
go_install() {
    CGO_ENABLED=0 GOBIN="$2" GOFLAGS="-mod=readonly" \
        go install -trimpath -tags "$1" -gcflags "all=-dwarf=false -l" -ldflags "-s -w" tool </dev/null >&2
}

build() {
    local folder="$1"
    mkdir -p "$folder/bin"
    case "$part" in
    loki | mimir)
        (cd "$source_folder" && go_install "" "$folder/bin")
        ;;
    prometheus)
        # Without the clients of two dozen clouds' service discoveries, which take longer to build than the rest.
        (cd "$source_folder" && go_install remove_all_sd "$folder/bin")
        ;;
    collector)
        (cd "$source_folder" && go_install "" "$folder/bin")
        (cd "$folder" &&
            sed "/^dist:/a\\  output_path: $folder/source" "$source_folder/manifest.yaml" >manifest.yaml &&
            CGO_ENABLED=0 GOFLAGS=-mod=mod bin/builder --skip-strict-versioning \
                --gcflags "all=-dwarf=false -l" --config manifest.yaml </dev/null >&2)
        mv "$folder/source/otelcol" "$folder/bin/otelcol"
        rm -rf "$folder/source" "$folder/bin/builder"
        ;;
    keycloak)
        mvn --quiet --batch-mode \
            "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN:copy" \
            "-Dartifact=org.keycloak:keycloak-quarkus-dist:$KEYCLOAK:zip" \
            "-DoutputDirectory=$folder" -Dmdep.useBaseVersion=true </dev/null >&2
        local archive="$folder/keycloak-quarkus-dist-$KEYCLOAK.zip"
        local sum
        sum="$(sha256sum "$archive" | cut -d' ' -f1)"
        [ "$sum" = "$KEYCLOAK_SHA256" ] ||
            die "$archive has SHA-256 $sum, not $KEYCLOAK_SHA256: not the file this was tried with"
        python3 -m zipfile -e "$archive" "$folder"
        rm "$archive"
        mv "$folder/keycloak-$KEYCLOAK"/* "$folder"
        rmdir "$folder/keycloak-$KEYCLOAK"
        chmod +x "$folder/bin/kc.sh"
        # Settled here once, so that a start need not do it.
        "$folder/bin/kc.sh" build --db=dev-file --health-enabled=true </dev/null >&2
        ;;
    *) die "no part $part" ;;
    esac
}

# Dex does not compile without C, for its SQLite. (Not in `build`, whose text is in the names of all other parts.)
dex() {
    local folder="$1"
    mkdir -p "$folder/bin"
    (cd "$source_folder" &&
        CGO_ENABLED=1 GOBIN="$folder/bin" GOFLAGS="-mod=readonly" \
            go install -trimpath -gcflags "all=-dwarf=false -l" -ldflags "-s -w" tool </dev/null >&2)
}

case "$part" in
keycloak) need_java ;;
dex)
    need_go
    need_c
    ;;
*) need_go ;;
esac

key="$({
    case "$part" in
    dex) sed -n '/^dex()/,/^}/p' "$0" ;;
    *) sed -n '/^KEYCLOAK/p; /^go_install/,/^}/p; /^build/,/^}/p' "$0" ;;
    esac
    [ "$part" = keycloak ] || { go version; cat "$source_folder"/go.mod "$source_folder"/go.sum; }
    [ ! -f "$source_folder/manifest.yaml" ] || cat "$source_folder/manifest.yaml"
} | sha256sum | cut -c1-12)"
folder="$SCOPEGATE_CACHE/stack/$part-$key"

wait_for_cache "$part"
if [ ! -d "$folder" ]; then
    case "$part" in
    keycloak) say "fetching Keycloak $KEYCLOAK (165 MB) and preparing it: about a minute" ;;
    *) say "building $part from source: a few minutes, once" ;;
    esac
    started=$SECONDS
    rm -rf "$folder.part"
    case "$part" in
    dex) dex "$folder.part" ;;
    *) build "$folder.part" ;;
    esac
    mv "$folder.part" "$folder"
    say "$part: ready after $((SECONDS - started)) s"
fi
printf '%s\n' "$folder"
