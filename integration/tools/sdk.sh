#!/usr/bin/env bash
# Builds the gate on the crate `proxy-wasm` instead of its own host, and prints its path: target/scopegate-sdk.wasm.
#
#   sdk.sh            the one that is measured
#   sdk.sh FEATURE    one with a feature of integration/bench/sdk/Cargo.toml: target/scopegate-sdk-FEATURE.wasm
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
exec "$top/integration/tools/wasm.sh" "$top/integration/bench/sdk/Cargo.toml" \
    "$top/target/scopegate-sdk${1:+-$1}.wasm" "${1:-}"
