#!/usr/bin/env bash
# Prints the path of wrk, the load generator of `make bench`: $WRK, the one on
# PATH, or Debian's, unpacked into the cache with the LuaJIT it needs.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

if [ -n "${WRK:-}" ]; then
    [ -x "$WRK" ] || die "WRK=$WRK cannot be run"
    printf '%s\n' "$WRK"
    exit
fi
if have wrk; then
    command -v wrk
    exit
fi

folder="$SCOPEGATE_CACHE/wrk"
wrk="$folder/wrk"
wait_for_cache
if [ ! -x "$wrk" ]; then
    deb_unpack "$folder" wrk libluajit-5.1-2 || die "no Debian package wrk here: install wrk and set WRK to its binary"
    {
        echo '#!/bin/sh'
        echo 'here="$(dirname "$0")"'
        echo 'LD_LIBRARY_PATH="$(echo "$here"/usr/lib/*/)" exec "$here/usr/bin/wrk" "$@"'
    } >"$wrk"
    chmod +x "$wrk"
fi
# `wrk -v` tells its version and fails.
[[ "$("$wrk" -v 2>&1)" == wrk* ]] || die "$wrk does not run on this machine: install wrk and set WRK to its binary"
printf '%s\n' "$wrk"
