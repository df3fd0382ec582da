#!/usr/bin/env bash
# Builds what a release has for Linux, for one of two architectures.
#
#   linux.sh command amd64|arm64 OUTPUT    the command `scopegate`, which needs nothing else: linked statically with musl, which
#                                          resolves names by itself. glibc would load libraries of its own version for
#                                          that, which an empty image has not
#   linux.sh module amd64|arm64 OUTPUT     the native module, which needs the glibc that Envoy needs, or a newer one
#
# The compiler is chosen as that of the module in wasm is (rust.sh). C code is compiled, and all of it linked, by Zig, which
# brings musl, and what glibc has had at each version, for both, and the same bytes wherever it runs.
set -euo pipefail

top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"
. "$top/integration/tools/rust.sh"

usage="usage: linux.sh command|module amd64|arm64 OUTPUT"
case "${2:-}" in
amd64) machine=x86_64 ;;
arm64) machine=aarch64 ;;
*) die "$usage" ;;
esac
output="${3:?$usage}"

# A folder of its own, so that a build that takes minutes holds up no other one.
CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$SCOPEGATE_CACHE/target}"
# Which glibc the module asks for: that of Debian 10 and of Red Hat 8, which are older than any Envoy that loads it.
GLIBC=2.28
case "${1:-}" in
command)
    TARGET="$machine-unknown-linux-musl" zig_target="$machine-unknown-linux-musl" parts=std,panic_abort
    export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/static"
    build=(zigbuild --release --features serve --bin scopegate) after=()
    built=release/scopegate flags="-C target-feature=+crt-static"
    ;;
module)
    TARGET="$machine-unknown-linux-gnu" zig_target="$machine-unknown-linux-gnu.$GLIBC" parts=std,panic_unwind
    export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/shared"
    build=(rustc --profile native --features native --lib --crate-type cdylib)
    # Never unloaded, because a thread of the module's may be about to wake up. A function that Envoy lacks is found when
    # the module is loaded, and not when it is called.
    after=(-- -C link-arg=-Wl,-z,nodelete -C link-arg=-Wl,-z,now)
    built=native/libscopegate.so flags=
    ;;
*) die "$usage" ;;
esac

way="$(rust_way "${SCOPEGATE_WASM_TOOLCHAIN:-any}" "$TARGET" rustc-web cargo-web rust-web-src)"
zig="$("$top/integration/tools/zig.sh")"
export PATH="$zig:$PATH" CARGO_ZIGBUILD_ZIG_PATH="$zig/zig" CARGO_ZIGBUILD_CACHE_DIR="$SCOPEGATE_CACHE/zigbuild"
build+=(--locked --target "$zig_target" -p scopegate)
cd "$top"
flags="$remap --remap-path-prefix=$top=/scopegate --remap-path-prefix=$CARGO_TARGET_DIR=/target $flags"
case "$way" in
rustup) RUSTFLAGS="$flags" cargo-zigbuild "${build[@]}" "${after[@]}" >&2 ;;
debian)
    export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/debian"
    debian_cargo CARGO=/usr/bin/cargo RUSTC=/usr/bin/rustc RUSTFLAGS="$flags" \
        cargo-zigbuild "${build[@]}" "-Zbuild-std=$parts" "${after[@]}"
    ;;
esac

mkdir -p "$(dirname "$output")"
cp "$CARGO_TARGET_DIR/$TARGET/$built" "$output.part"
mv "$output.part" "$output"
say "$(basename "$output"): $(wc -c <"$output") bytes, $zig_target, built with $way"
