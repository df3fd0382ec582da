#!/usr/bin/env bash
# Builds scopegate.wasm and copies it to target/scopegate.wasm.
#
#   wasm.sh                             the module
#   wasm.sh MANIFEST OUTPUT [FEATURE]   another proxy-wasm crate, the same way
#
# The target is wasm32-wasip1: wasm32-unknown-unknown makes the crypto crates
# import JavaScript that no Envoy can supply. Two ways to get it are in rust.sh;
# SCOPEGATE_WASM_TOOLCHAIN=rustup|debian insists on one of them.
set -euo pipefail

top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"
. "$top/integration/tools/rust.sh"

TARGET=wasm32-wasip1
DEBIAN_PACKAGES=(rustc-web cargo-web rust-web-src lld-19 wasi-libc libclang-rt-14-dev-wasm32)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$SCOPEGATE_CACHE/target}"

if [ $# -ge 2 ]; then
    manifest="$1" output="$2"
else
    manifest="$top/Cargo.toml" output="$top/target/scopegate.wasm"
fi
cd "$(dirname "$manifest")"
name="$(sed -n 's/^name *= *"\(.*\)"/\1/p' Cargo.toml | head -n1)"
# Other crates build the gate's library too, perhaps with other features, and its file is called as the module's: in the
# same folder it would be written over that, and cargo would not notice.
[ $# -lt 2 ] || CARGO_TARGET_DIR="$CARGO_TARGET_DIR/$name"

# A crate outside of the workspace knows this checkout by its whole path, which is not the same everywhere.
[ $# -lt 2 ] || remap="$remap --remap-path-prefix=$top=/scopegate"

build=(build --release --locked --lib --target "$TARGET" -p "$name" --features "${3:-}")

build_with_rustup() {
    CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="$remap" cargo "${build[@]}" >&2
}

# A folder of its own: two compilers sharing one would rebuild it at each turn.
build_with_debian() {
    export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/debian"
    # No crt1 is needed (proxy_wasm::main! brings _initialize), hence no self-contained linking.
    debian_cargo CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld-19 \
        CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="$remap -C link-self-contained=no -L native=/usr/lib/wasm32-wasi" \
        /usr/bin/cargo "${build[@]}" -Zbuild-std=std,panic_abort
}

way="$(rust_way "${SCOPEGATE_WASM_TOOLCHAIN:-any}" "$TARGET" "${DEBIAN_PACKAGES[@]}")"
"build_with_$way"

mkdir -p "$(dirname "$output")"
built="$CARGO_TARGET_DIR/$TARGET/release/${name//-/_}.wasm"
# Another build of the library, without the host, may have been written over it.
[ $# -ge 2 ] || grep -q proxy_abi_version_ "$built" || die "$built is no module for a proxy: remove it and build again"
# Renamed into place: an Envoy that is starting must never see half a module.
cp "$built" "$output.part"
mv "$output.part" "$output"
say "$(basename "$output"): $(wc -c <"$output") bytes, built with $way"
printf '%s\n' "$output"
