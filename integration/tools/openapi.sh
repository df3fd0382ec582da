#!/usr/bin/env bash
# Prints the path of a Python that has openapi-spec-validator and schemathesis, which
# docs/openapi.yaml is checked with; fetched once from PyPI, into the cache. Needs Python
# 3.11 or newer; versions and hashes are pinned in integration/stack/openapi.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

MINIMUM=3.11
requirements="$(cd "$(dirname "$0")/../stack/openapi" && pwd)/requirements.txt"

have python3 || apt_install python3 python3-venv || die "no python3: install Python $MINIMUM or newer"
version="$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
at_least "$MINIMUM" "$version" || die "python3 is version $version: schemathesis needs $MINIMUM or newer"

key="$(cat "$requirements" "$0" <(printf '%s' "$version") | sha256sum | cut -c1-16)"
folder="$SCOPEGATE_CACHE/stack/openapi-$key"
wait_for_cache openapi
if [ ! -d "$folder" ]; then
    say "fetching schemathesis and openapi-spec-validator from PyPI"
    rm -rf "$folder.part"
    python3 -m venv "$folder.part" >/dev/null 2>&1 ||
        { apt_install python3-venv && rm -rf "$folder.part" && python3 -m venv "$folder.part" >&2; } ||
        die "python3 has no venv: install it (Debian: python3-venv)"
    PIP_ROOT_USER_ACTION=ignore "$folder.part/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --no-deps --require-hashes --only-binary=:all: -r "$requirements" </dev/null >&2 ||
        die "PyPI gave not all of $requirements for this machine"
    # Only its Python is used, not the scripts beside it, which hold the path that it had.
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder/bin/python"
