#!/usr/bin/env bash
# Runs the hooks of the native module on several threads at once, against an Envoy that is made for it
# (src/host/native/tests.rs): under ThreadSanitizer, for what threads share without an order, and in valgrind, for
# memory that is used after its end or never given back.
#
#   races.sh [SECONDS]   for each of the two; half an hour in all by default
#
# ThreadSanitizer is a part of the compiler that it lets nobody use without RUSTC_BOOTSTRAP. The standard library is not
# built with it, so that what it synchronises inside is unknown to it: races.suppressions names these places.
set -euo pipefail

top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"
cd "$top"

seconds="${1:-900}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$SCOPEGATE_CACHE/target}" SCOPEGATE_RACE_SECONDS="$seconds"
test=host::native::tests

say "ThreadSanitizer, $seconds s"
RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
    TSAN_OPTIONS="halt_on_error=1 suppressions=$top/integration/tools/races.suppressions" \
    cargo test --quiet --locked --target "$(rustc -vV | sed -n 's/^host: //p')" --features native --lib "$test"

if ! have valgrind; then
    say "skipped: valgrind is not there"
    exit
fi
say "valgrind, $seconds s"
binary="$(cargo test --quiet --locked --features native --lib --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n1)"
valgrind --quiet --error-exitcode=1 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    "$binary" "$test"
