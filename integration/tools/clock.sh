#!/usr/bin/env bash
# Builds the clocks that tests step (integration/clock) and prints the path of its library.
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$SCOPEGATE_CACHE/target}"
cargo build --quiet --release --locked --manifest-path "$top/integration/clock/Cargo.toml" >&2
printf '%s\n' "$CARGO_TARGET_DIR/release/libscopegate_clock.so"
