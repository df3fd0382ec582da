#!/usr/bin/env bash
# Builds the command `scopegate` for Linux as one file that needs nothing else: linked statically with musl, which
# resolves names by itself. glibc would load libraries of its own version for that, which an empty image has not.
#
#   static.sh amd64|arm64 OUTPUT
#
# The compiler is chosen as that of the module is (rust.sh). C code is compiled, and all of it linked, by Zig, which
# brings musl for both and the same bytes wherever it runs.
set -euo pipefail

top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"
. "$top/integration/tools/rust.sh"

case "${1:-}" in
amd64) TARGET=x86_64-unknown-linux-musl ;;
arm64) TARGET=aarch64-unknown-linux-musl ;;
*) die "usage: static.sh amd64|arm64 OUTPUT" ;;
esac
output="${2:?usage: static.sh amd64|arm64 OUTPUT}"
# A folder of its own, so that a build that takes minutes holds up no other one.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$SCOPEGATE_CACHE/target}/static"

way="$(rust_way "${SCOPEGATE_WASM_TOOLCHAIN:-any}" "$TARGET" rustc-web cargo-web rust-web-src)"
zig="$("$top/integration/tools/zig.sh")"
export PATH="$zig:$PATH" CARGO_ZIGBUILD_ZIG_PATH="$zig/zig" CARGO_ZIGBUILD_CACHE_DIR="$SCOPEGATE_CACHE/zigbuild"
build=(zigbuild --release --locked --target "$TARGET" -p scopegate --features serve --bin scopegate)
cd "$top"
flags="$remap --remap-path-prefix=$top=/scopegate --remap-path-prefix=$CARGO_TARGET_DIR=/target -C target-feature=+crt-static"
case "$way" in
rustup) RUSTFLAGS="$flags" cargo-zigbuild "${build[@]}" >&2 ;;
debian)
    export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/debian"
    debian_cargo CARGO=/usr/bin/cargo RUSTC=/usr/bin/rustc RUSTFLAGS="$flags" \
        cargo-zigbuild "${build[@]}" -Zbuild-std=std,panic_abort
    ;;
esac

mkdir -p "$(dirname "$output")"
cp "$CARGO_TARGET_DIR/$TARGET/release/scopegate" "$output.part"
mv "$output.part" "$output"
say "$(basename "$output"): $(wc -c <"$output") bytes, $TARGET, built with $way"
