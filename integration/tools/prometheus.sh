#!/usr/bin/env bash
# Prints the path of a Prometheus: $PROMETHEUS, the one on PATH, or Debian's,
# unpacked into the cache: installing the package would start a service.
#
# The oldest that will do is 2.33: the remote-write receiver is a plain flag there.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

MINIMUM=2.33

version_of() { "$1" --version 2>&1 | sed -n 's/^prometheus, version \([0-9.]*\).*/\1/p'; }
advice="install Prometheus $MINIMUM or newer (https://prometheus.io/download/) and set PROMETHEUS to its binary"

if [ -n "${PROMETHEUS:-}" ]; then
    [ -x "$PROMETHEUS" ] || die "PROMETHEUS=$PROMETHEUS cannot be run"
    printf '%s\n' "$PROMETHEUS"
    exit
fi

if have prometheus; then
    found="$(command -v prometheus)"
    version="$(version_of "$found" || true)"
    if [ -n "$version" ] && at_least "$MINIMUM" "$version"; then
        printf '%s\n' "$found"
        exit
    fi
    say "$found is version ${version:-unknown}, older than $MINIMUM: looking for another"
fi

folder="$SCOPEGATE_CACHE/prometheus"
prometheus="$folder/usr/bin/prometheus"
wait_for_cache
if [ ! -x "$prometheus" ]; then
    deb_unpack "$folder" prometheus || die "no Debian package prometheus here: $advice"
fi
version="$(version_of "$prometheus" || true)"
[ -n "$version" ] && at_least "$MINIMUM" "$version" || die "$prometheus is not good enough: $advice"
printf '%s\n' "$prometheus"
