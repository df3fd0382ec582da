#!/usr/bin/env bash
# Prints the path of the tempo on PATH; it is neither built nor fetched here.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

have tempo || die "no program: name one by TEMPO= or put it on PATH (https://github.com/grafana/tempo/releases)"
command -v tempo
