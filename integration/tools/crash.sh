#!/usr/bin/env bash
# Builds the module that a drill kills (integration/crash) and prints its path.
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
exec "$top/integration/tools/wasm.sh" "$top/integration/crash/Cargo.toml" "$top/target/crash.wasm"
