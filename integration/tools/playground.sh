#!/usr/bin/env bash
# Builds the playground, and prints where it is: target/playground.html, and beside it the module that is in it,
# target/playground.wasm.
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
module="$("$top/integration/tools/wasm.sh" "$top/playground/Cargo.toml" "$top/target/playground.wasm")"
exec python3 "$top/playground/build.py" "$module" "$top/target/playground.html"
