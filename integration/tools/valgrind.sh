#!/usr/bin/env bash
# Prints a command that runs valgrind: VALGRIND, the one on PATH, or one from Debian's package
# in the cache. Fails if there is none.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

[ -z "${VALGRIND:-}" ] || { printf '%s\n' "$VALGRIND"; exit; }
if have valgrind; then
    command -v valgrind
    exit
fi
folder="$SCOPEGATE_CACHE/valgrind"
if [ ! -x "$folder/run" ]; then
    wait_for_cache valgrind
    rm -rf "$folder.part"
    deb_unpack "$folder.part" valgrind || die "no valgrind: install it (Debian: valgrind)"
    # It looks for its tools where it was built for.
    printf '#!/bin/sh\nVALGRIND_LIB="%s/usr/libexec/valgrind" exec "%s/usr/bin/valgrind" "$@"\n' \
        "$folder" "$folder" >"$folder.part/run"
    chmod +x "$folder.part/run"
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder/run"
