#!/usr/bin/env bash
# Prints the path of a Python that has CycloneDX's own library with its schemas; fetched from PyPI once, into the cache.
# Versions and hashes are pinned in integration/release/sbom.txt.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

folder="$(python_of sbom-reader "$(dirname "$0")/../release/sbom.txt")"
printf '%s\n' "$folder/bin/python"
