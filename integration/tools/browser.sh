#!/usr/bin/env bash
# Prints a folder with walk.mjs, what it drives a browser with, and `chromium`, the browser: $CHROMIUM, the one on PATH,
# or Debian's package. Put together once, in the cache. Needs Node 20 or newer with npm; versions and sums are pinned in
# playground/walk.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

MINIMUM=20.0.0

package="$(cd "$(dirname "$0")/../../playground/walk" && pwd)"
advice="install Node $MINIMUM or newer with npm (https://nodejs.org/) to walk through the playground"
{ have node && have npm; } || die "no node or no npm: $advice"
version="$(node --version)"
at_least "$MINIMUM" "${version#v}" || die "node is $version: $advice"

find_browser() {
    local name
    if [ -n "${CHROMIUM:-}" ]; then
        [ -x "$CHROMIUM" ] || die "CHROMIUM=$CHROMIUM cannot be run"
        printf '%s\n' "$CHROMIUM"
        return
    fi
    for name in chromium chromium-browser google-chrome; do
        have "$name" && { command -v "$name"; return; }
    done
    return 1
}

wait_for_cache browser
browser="$(find_browser)" || {
    apt_install chromium || die "no Chromium: install one, or set CHROMIUM to its program"
    browser="$(find_browser)" || die "Debian's chromium is installed and cannot be found"
}

key="$({ cat "$package"/package.json "$package"/package-lock.json "$package"/*.mjs "$0"; printf '%s\n' "$browser"; } |
    sha256sum | cut -c1-16)"
folder="$SCOPEGATE_CACHE/stack/browser-$key"
if [ ! -d "$folder" ]; then
    say "fetching what drives the browser"
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    cp "$package"/package.json "$package"/package-lock.json "$package"/*.mjs "$folder.part/"
    # It would fetch browsers of its own in a script.
    (cd "$folder.part" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >&2)
    ln -s "$browser" "$folder.part/chromium"
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder"
