#!/usr/bin/env bash
# Builds scopegate.wasm and copies it to target/scopegate.wasm.
#
#   wasm.sh                    the module
#   wasm.sh MANIFEST OUTPUT    another proxy-wasm crate, the same way
#
# The target is wasm32-wasip1: wasm32-unknown-unknown makes the crypto crates
# import JavaScript that no Envoy can supply. Two ways to get it, in order:
#   rustup  the compiler on PATH has the target, or rustup can add it
#   debian  Debian's rustc-web with the standard library built from source
# SCOPEGATE_WASM_TOOLCHAIN=rustup|debian insists on one of them.
set -euo pipefail

top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"

TARGET=wasm32-wasip1
MINIMUM_RUST=1.89
DEBIAN_PACKAGES=(rustc-web cargo-web rust-web-src lld-19 wasi-libc libclang-rt-14-dev-wasm32)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$SCOPEGATE_CACHE/target}"

if [ $# = 2 ]; then
    manifest="$1" output="$2"
else
    manifest="$top/Cargo.toml" output="$top/target/scopegate.wasm"
fi
cd "$(dirname "$manifest")"
name="$(sed -n 's/^name *= *"\(.*\)"/\1/p' Cargo.toml | head -n1)"
# Other crates build the gate's library too, perhaps with other features, and its file is called as the module's: in the
# same folder it would be written over that, and cargo would not notice.
[ $# != 2 ] || CARGO_TARGET_DIR="$CARGO_TARGET_DIR/$name"

new_enough() {
    local version
    version="$("$1" --version 2>/dev/null | cut -d' ' -f2)" || return 1
    [ -n "$version" ] && at_least "$MINIMUM_RUST" "${version%%-*}"
}

# The compiler on PATH, its target installed or addable. That rustup cannot add
# it is remembered for a day, so that only one run waits for the time limit.
rustup_ready() {
    have cargo && have rustc || return 1
    new_enough rustc || {
        say "$(rustc --version) is too old: scopegate needs Rust $MINIMUM_RUST or newer"
        return 1
    }
    local installed="$(rustc --print sysroot)/lib/rustlib/$TARGET/lib"
    [ -d "$installed" ] && return 0
    have rustup || return 1
    local refused="$SCOPEGATE_CACHE/no-$TARGET-$(rustc --version | cksum | cut -d' ' -f1)"
    [ -n "$(find "$refused" -mmin -1440 2>/dev/null)" ] && return 1
    say "adding the Rust target $TARGET"
    if timeout 180 rustup target add "$TARGET" </dev/null >&2 && [ -d "$installed" ]; then
        return 0
    fi
    say "rustup could not add $TARGET"
    touch "$refused"
    return 1
}

debian_ready() {
    apt_install "${DEBIAN_PACKAGES[@]}" || return 1
    new_enough /usr/bin/rustc || {
        say "$(/usr/bin/rustc --version) is too old: scopegate needs Rust $MINIMUM_RUST or newer"
        return 1
    }
}

# Paths inside the module would differ from home to home.
remap="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
build=(build --release --locked --lib --target "$TARGET" -p "$name")

build_with_rustup() {
    CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="$remap" cargo "${build[@]}" >&2
}

# A folder of its own: two compilers sharing one would rebuild it at each turn.
build_with_debian() {
    export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/debian"
    # No crt1 is needed (proxy_wasm::main! brings _initialize), hence no self-contained linking.
    env -u RUSTUP_TOOLCHAIN -u RUSTC -u RUSTC_WRAPPER RUSTC_BOOTSTRAP=1 PATH="/usr/bin:$PATH" \
        CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld-19 \
        CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="$remap -C link-self-contained=no -L native=/usr/lib/wasm32-wasi" \
        /usr/bin/cargo "${build[@]}" -Zbuild-std=std,panic_abort >&2
}

case "${SCOPEGATE_WASM_TOOLCHAIN:-any}" in
    any) if rustup_ready; then way=rustup; elif debian_ready; then way=debian; else way=none; fi ;;
    rustup) if rustup_ready; then way=rustup; else way=none; fi ;;
    debian) if debian_ready; then way=debian; else way=none; fi ;;
    *) die "SCOPEGATE_WASM_TOOLCHAIN is rustup or debian" ;;
esac
[ "$way" != none ] || die "no compiler for $TARGET. Install one of
  Rust $MINIMUM_RUST or newer from https://rustup.rs, then: rustup target add $TARGET
  on Debian 12, as root: apt-get update && apt-get install ${DEBIAN_PACKAGES[*]}"
"build_with_$way"

mkdir -p "$(dirname "$output")"
built="$CARGO_TARGET_DIR/$TARGET/release/${name//-/_}.wasm"
# Another build of the library, without the host, may have been written over it.
[ $# = 2 ] || grep -q proxy_abi_version_ "$built" || die "$built is no module for a proxy: remove it and build again"
# Renamed into place: an Envoy that is starting must never see half a module.
cp "$built" "$output.part"
mv "$output.part" "$output"
say "$(basename "$output"): $(wc -c <"$output") bytes, built with $way"
printf '%s\n' "$output"
