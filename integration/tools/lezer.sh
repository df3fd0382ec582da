#!/usr/bin/env bash
# Prints a folder with oracle.mjs and the grammars that it asks: run `node FOLDER/oracle.mjs`.
# Put together once, in the cache. Needs Node 18 or newer with npm; versions and sums are
# pinned in integration/oracles/lezer.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

MINIMUM=18.0.0

package="$(cd "$(dirname "$0")/../oracles/lezer" && pwd)"
advice="install Node $MINIMUM or newer with npm (https://nodejs.org/, Debian: nodejs npm) for the lezer oracle"
{ have node && have npm; } || die "no node or no npm: $advice"
version="$(node --version)"
at_least "$MINIMUM" "${version#v}" || die "node is $version: $advice"

key="$(cat "$package"/package.json "$package"/package-lock.json "$package"/oracle.mjs "$0" | sha256sum | cut -c1-16)"
folder="$SCOPEGATE_CACHE/stack/lezer-$key"
wait_for_cache lezer
if [ ! -d "$folder" ]; then
    say "fetching the grammars of the lezer oracle"
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    cp "$package"/package.json "$package"/package-lock.json "$package"/oracle.mjs "$folder.part/"
    # Grammars are data: nothing of theirs needs to run, and one names a newer Node than it needs.
    (cd "$folder.part" && npm ci --ignore-scripts --no-audit --no-fund --engine-strict=false --loglevel=error </dev/null >&2)
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder"
