# Which Rust builds for a target that its own compiler may lack. Source it after deps.sh.
#
#   rustup  the compiler on PATH has the target, or rustup can add it
#   debian  Debian's rustc-web with the standard library built from source

MINIMUM_RUST=1.89

new_enough() {
    local version
    version="$("$1" --version 2>/dev/null | cut -d' ' -f2)" || return 1
    [ -n "$version" ] && at_least "$MINIMUM_RUST" "${version%%-*}"
}

# rustup_ready TARGET: the compiler on PATH, its target installed or addable. That rustup cannot add
# it is remembered for a day, so that only one run waits for the time limit.
rustup_ready() {
    have cargo && have rustc || return 1
    new_enough rustc || {
        say "$(rustc --version) is too old: scopegate needs Rust $MINIMUM_RUST or newer"
        return 1
    }
    local installed="$(rustc --print sysroot)/lib/rustlib/$1/lib"
    [ -d "$installed" ] && return 0
    have rustup || return 1
    local refused="$SCOPEGATE_CACHE/no-$1-$(rustc --version | cksum | cut -d' ' -f1)"
    [ -n "$(find "$refused" -mmin -1440 2>/dev/null)" ] && return 1
    say "adding the Rust target $1"
    if timeout 180 rustup target add "$1" </dev/null >&2 && [ -d "$installed" ]; then
        return 0
    fi
    say "rustup could not add $1"
    touch "$refused"
    return 1
}

# debian_ready PACKAGE...
debian_ready() {
    apt_install "$@" || return 1
    new_enough /usr/bin/rustc || {
        say "$(/usr/bin/rustc --version) is too old: scopegate needs Rust $MINIMUM_RUST or newer"
        return 1
    }
}

# rust_way WISH TARGET PACKAGE...: which of the two; WISH is one of them, or "any".
rust_way() {
    local wish="$1" target="$2" way
    shift 2
    case "$wish" in any | rustup | debian) ;; *) die "SCOPEGATE_WASM_TOOLCHAIN is rustup or debian" ;; esac
    if [ "$wish" != debian ] && rustup_ready "$target"; then
        way=rustup
    elif [ "$wish" != rustup ] && debian_ready "$@"; then
        way=debian
    else
        die "no compiler for $target. Install one of
  Rust $MINIMUM_RUST or newer from https://rustup.rs, then: rustup target add $target
  on Debian 12, as root: apt-get update && apt-get install $*"
    fi
    printf '%s\n' "$way"
}

# Paths in what is built would differ from home to home, and from checkout to checkout.
remap="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"

# debian_cargo VARIABLE=VALUE... COMMAND...: with the compiler of Debian, and the options that are not stable yet.
debian_cargo() {
    env -u RUSTUP_TOOLCHAIN -u RUSTC -u RUSTC_WRAPPER RUSTC_BOOTSTRAP=1 PATH="/usr/bin:$PATH" "$@" >&2
}
