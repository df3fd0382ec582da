#!/usr/bin/env bash
# Builds the gate as a native module for Envoy on Linux, and prints its path: target/libscopegate.so.
#
#   native.sh            needs Rust and a C compiler; ring, which checks signatures, brings C code
#   native.sh panics     one that panics where a drill wants it: target/libscopegate-panics.so
#   native.sh MANIFEST OUTPUT    another module, which needs no library; a crate outside of the workspace
set -euo pipefail

top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"

[ "$(uname -s)" = Linux ] || die "Envoy loads native modules on Linux alone"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$SCOPEGATE_CACHE/target}"

# Renamed into place: an Envoy that is starting must never see half a module.
place() {
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.part"
    mv "$2.part" "$2"
    say "$(basename "$2"): $(wc -c <"$2") bytes"
    printf '%s\n' "$2"
}

if [ $# = 2 ]; then
    name="$(sed -n 's/^name *= *"\(.*\)"/\1/p' "$1" | head -n1)"
    export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/$name"
    cargo build --quiet --release --locked --lib --manifest-path "$1" >&2
    place "$CARGO_TARGET_DIR/release/lib${name//-/_}.so" "$2"
    exit
fi

feature="${1:-native}"
# What is shipped is built like a release. For a drill the profile of the tests will do, whose panics unwind as well.
name=libscopegate profile=native folder=native
[ "$feature" = native ] || name="libscopegate-$feature" profile=dev folder=debug
output="$top/target/$name.so"
cd "$top"

# A panic unwinds, for which Rust wants libgcc_s. Envoy's own image has none, so what is needed of it is linked in:
# the linker takes this text for the library.
libgcc="$CARGO_TARGET_DIR/libgcc"
mkdir -p "$libgcc"
echo 'GROUP(libgcc_eh.a libgcc.a)' >"$libgcc/libgcc_s.so"

# Never unloaded, because a thread of the module's may be about to wake up. A function that Envoy lacks is found when the
# module is loaded, and not when it is called.
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo rustc --quiet --profile "$profile" --locked --lib --features "$feature" --crate-type cdylib -- \
    -C link-arg=-Wl,-z,nodelete -C link-arg=-Wl,-z,now -L "native=$libgcc" >&2

built="$CARGO_TARGET_DIR/$folder/libscopegate.so"
needed="$(ldd "$built" | grep -v 'linux-vdso\|ld-linux\|libc\.so\.6' || true)"
[ -z "$needed" ] || die "$built needs more than Envoy's image has: $needed"
place "$built" "$output"
