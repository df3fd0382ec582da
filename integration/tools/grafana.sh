#!/usr/bin/env bash
# Prints a folder with Grafana's types and the compiler that checks a dashboard against them:
# node_modules/@grafana/schema and node_modules/typescript. Put together once, in the cache.
# Needs Node 18 or newer with npm; versions and sums are pinned in integration/monitoring.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

MINIMUM=18.0.0

package="$(cd "$(dirname "$0")/../monitoring" && pwd)"
advice="install Node $MINIMUM or newer with npm (https://nodejs.org/, Debian: nodejs npm) for Grafana's types"
{ have node && have npm; } || die "no node or no npm: $advice"
version="$(node --version)"
at_least "$MINIMUM" "${version#v}" || die "node is $version: $advice"

key="$(cat "$package"/package.json "$package"/package-lock.json "$0" | sha256sum | cut -c1-16)"
folder="$SCOPEGATE_CACHE/stack/grafana-$key"
wait_for_cache grafana
if [ ! -d "$folder" ]; then
    say "fetching Grafana's types and TypeScript"
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    cp "$package"/package.json "$package"/package-lock.json "$folder.part/"
    # Nothing of theirs needs to run at installation.
    (cd "$folder.part" && npm ci --ignore-scripts --no-audit --no-fund --engine-strict=false --loglevel=error </dev/null >&2)
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder"
