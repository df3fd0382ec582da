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

folder="$(python_of openapi "$requirements")"
printf '%s\n' "$folder/bin/python"
