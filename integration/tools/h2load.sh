#!/usr/bin/env bash
# Prints the path of h2load, which loads Envoy over HTTP/2 in `make bench`: $H2LOAD, the one on PATH, or Debian's,
# unpacked into the cache with the libraries it needs. Its licence is MIT.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

if [ -n "${H2LOAD:-}" ]; then
    [ -x "$H2LOAD" ] || die "H2LOAD=$H2LOAD cannot be run"
    printf '%s\n' "$H2LOAD"
    exit
fi
if have h2load; then
    command -v h2load
    exit
fi

folder="$SCOPEGATE_CACHE/h2load"
h2load="$folder/h2load"
wait_for_cache
if [ ! -x "$h2load" ]; then
    # The other libraries, OpenSSL's among them, are in every Debian with Python.
    deb_unpack "$folder" nghttp2-client libnghttp2-14 libev4 libjansson4 libjemalloc2 ||
        die "no Debian package nghttp2-client here: install h2load and set H2LOAD to its binary"
    {
        echo '#!/bin/sh'
        echo 'here="$(dirname "$0")"'
        echo 'LD_LIBRARY_PATH="$(echo "$here"/usr/lib/*/)" exec "$here/usr/bin/h2load" "$@"'
    } >"$h2load"
    chmod +x "$h2load"
fi
[[ "$("$h2load" --version 2>&1)" == h2load* ]] ||
    die "$h2load does not run on this machine: install h2load and set H2LOAD to its binary"
printf '%s\n' "$h2load"
