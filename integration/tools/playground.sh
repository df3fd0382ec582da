#!/usr/bin/env bash
# Builds the playground, and prints where it is: target/playground.html, and beside it the module that is in it,
# target/playground.wasm.
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"
# A folder of its own: the gate's library has other features here, and would be written over the module, whose file
# has the same name.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$SCOPEGATE_CACHE/target}/playground"
module="$("$top/integration/tools/wasm.sh" "$top/playground/Cargo.toml" "$top/target/playground.wasm")"
exec python3 "$top/playground/build.py" "$module" "$top/target/playground.html"
