#!/usr/bin/env bash
# Prints the path of the tempo on PATH. It can be neither built nor fetched: no registry has
# the program.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

have tempo || die "no program: name one by TEMPO= or put it on PATH (https://github.com/grafana/tempo/releases)"
command -v tempo
