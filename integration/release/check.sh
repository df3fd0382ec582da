#!/usr/bin/env bash
# Makes a release of the commit that is checked out twice, from two clones in two folders with two folders of Cargo's, and
# compares every file. Then it does what a maintainer and a user do, with the commands of RELEASING.md and of
# docs/verifying.md as they stand there, and cosign as the second program. Not in CI: everything is built twice.
#
#   check.sh            all of it
#   check.sh FOLDER     only what comes after the builds, with a release that is there, signed with the key FOLDER.pem
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
here="$top/integration/release"
. "$top/integration/tools/deps.sh"
cd "$top"

work="$(mktemp -d)"
registry=
trap '[ -z "$registry" ] || kill "$registry" 2>/dev/null || true; rm -rf "$work"' EXIT
step() { printf '==== %s\n' "$*"; }
fails() { ! "$@" >"$work/refused" 2>&1 || die "this should have failed: $*"; }

# blocks PAGE HEADING: the commands under it that are marked as a shell's.
blocks() {
    awk -v heading="$2" '/^#/ { here = ($0 == heading) } /^```/ { shell = here && $0 == "```sh"; next } shell' "$top/$1" |
        grep . || die "$1 has no commands under $2"
}

# The key is thrown away.
key="$work/key.pem"
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$key" 2>/dev/null ||
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$key" 2>/dev/null

# made CLONE TARGET: its release.
made() {
    git clone -q "$top" "$1"
    (cd "$1" && TRIAL=1 SCOPEGATE_SIGNING_KEY="$key" CARGO_TARGET_DIR="$2" make release >&2)
    echo "$1"/target/release-*
}

# What is not the same twice: an elliptic signature has a random number in it, and the playground's crate is outside of
# the workspace, so that cargo tells it apart by the whole path of its folder.
differs=(--exclude='*.sig' --exclude='*.sigstore.json' --exclude='*.sig.oci.tar' --exclude=playground.html --exclude=SHA256SUMS)

if [ $# = 0 ]; then
    step "the first build"
    one="$(made "$work/one" "$work/one-target")"
    rm -rf "$work/one-target"
    step "the second build, in another folder"
    two="$(made "$work/another/place/two" "$work/another/target")"
    rm -rf "$work/another/target"
    step "every file but the playground is the same"
    diff -r "${differs[@]}" "$one" "$two"
    diff <(grep -v ' playground.html$' "$one/SHA256SUMS") <(grep -v ' playground.html$' "$two/SHA256SUMS")
    ls "$one" | wc -l | xargs printf '%s files\n'
else
    one="$(cd "$1" && pwd)" key="$(cd "$(dirname "$1")" && pwd)/$(basename "$1").pem"
fi
release="$work/release"
cp -r "$one" "$release"

tools="$("$top/integration/tools/cosign.sh")"
export PATH="$tools:$PATH"

step "the images are pushed as RELEASING.md says, into a registry on loopback"
crane registry serve --address 127.0.0.1:0 >"$work/registry.log" 2>&1 &
registry=$!
for _ in $(seq 100); do
    port="$(sed -n 's/.*serving on port \([0-9]*\).*/\1/p' "$work/registry.log")"
    [ -z "$port" ] || break
    sleep 0.1
done
[ -n "$port" ] || die "no registry: $(cat "$work/registry.log")"
export IMAGES="127.0.0.1:$port" VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)"
blocks RELEASING.md "## 5. Push the images" >"$work/push.sh"
(cd "$release" && bash -euo pipefail "$work/push.sh")

step "files and images are verified as docs/verifying.md says"
for heading in "## The files" "## The images"; do
    blocks docs/verifying.md "$heading" >"$work/verify.sh"
    (cd "$release" && bash -euo pipefail "$work/verify.sh") || die "not verified: $heading"
done

step "a byte that differs is found"
blocks docs/verifying.md "## The files" >"$work/verify.sh"
for file in $(cut -d' ' -f3 "$release/SHA256SUMS") SHA256SUMS; do
    cp -r "$release" "$work/changed"
    python3 - "$work/changed/$file" <<'PYTHON'
import sys
content = bytearray(open(sys.argv[1], "rb").read())
content[len(content) // 2] ^= 1
open(sys.argv[1], "wb").write(content)
PYTHON
    (cd "$work/changed" && fails bash -euo pipefail "$work/verify.sh")
    rm -rf "$work/changed"
done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null | openssl pkey -pubout -out "$work/other.pub"
fails cosign verify-blob --key "$work/other.pub" --bundle "$release/SHA256SUMS.sigstore.json" \
    --insecure-ignore-tlog=true "$release/SHA256SUMS"
fails cosign verify --key "$work/other.pub" --insecure-ignore-tlog=true "$IMAGES/$(head -n1 "$release/digests.txt")"

step "a key of cosign's own signs too, and openssl verifies it"
(cd "$work" && COSIGN_PASSWORD=secret cosign generate-key-pair --output-key-prefix own >/dev/null 2>&1)
cp "$release/SHA256SUMS" "$work/SUMS"
COSIGN_KEY="$work/own.key" COSIGN_PASSWORD=secret python3 "$here/sign.py" blob "$work/SUMS"
base64 -d "$work/SUMS.sig" >"$work/signature"
openssl dgst -sha256 -verify "$work/own.pub" -signature "$work/signature" "$work/SUMS"

step "the lists of what is in it are CycloneDX, and hold the crates that Cargo compiles"
"$("$top/integration/tools/sbom_reader.sh")" "$here/sbom_check.py" "$top" "$release"

step "the programs run"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)"
mkdir "$work/empty"
for architecture in amd64 arm64; do
    cp "$release/scopegate-linux-$architecture" "$work/empty/scopegate"
    chmod +x "$work/empty/scopegate"
    run=(/scopegate)
    if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
        deb_unpack "$work/qemu" qemu-user-static
        cp "$work/qemu/usr/bin/qemu-aarch64-static" "$work/empty/qemu"
        run=(/qemu /scopegate)
    fi
    said="$(chroot --userspec=65532:65532 "$work/empty" "${run[@]}" --version)"
    printf '%s: %s\n' "$architecture" "$said"
    [[ "$said" == "scopegate $version"* ]] || die "not version $version"
    chroot --userspec=65532:65532 "$work/empty" "${run[@]}" schema | cmp - envoy/scopegate.schema.json
done

step "the native modules need glibc 2.28 alone, are never unloaded, and have the same hooks"
have readelf || apt_install binutils || die "no readelf: install binutils"
for architecture in amd64 arm64; do
    module="$release/libscopegate-linux-$architecture.so"
    readelf -dW "$module" >"$work/dynamic"
    needed="$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' "$work/dynamic" | grep -vE '^(lib(c|m|dl|rt|pthread)|ld-linux-.*)\.so\.' || true)"
    [ -z "$needed" ] || die "$module needs $needed"
    grep -q 'Flags:.*NODELETE' "$work/dynamic" || die "$module can be unloaded"
    grep -q 'Flags:.*NOW' "$work/dynamic" || die "$module looks for functions when it calls them"
    newest="$(readelf -VW "$module" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n1)"
    at_least "${newest#GLIBC_}" 2.28 || die "$module needs $newest"
    readelf -W --dyn-syms "$module" | awk '$7 != "UND" && $8 ~ /^envoy_/ { print $8 }' | sort >"$work/hooks-$architecture"
    printf '%s: %s, %s\n' "$architecture" "$newest" "$(wc -l <"$work/hooks-$architecture") hooks"
done
cmp "$work/hooks-amd64" "$work/hooks-arm64"
[ "$(wc -l <"$work/hooks-amd64")" -gt 20 ] || die "hooks are missing"

step "the native module of this machine decides in the oldest and the newest Envoy that take it"
for envoy in 1.38.2 1.40.0; do
    ENVOY="$(integration/tools/envoy.sh "$envoy")" SCOPEGATE_NATIVE="$release/libscopegate-linux-$(dpkg --print-architecture).so" \
        SCENARIO=gRPC cargo test --locked -p integration --test scenarios_envoy
done

step "the images of the command run in empty, read-only roots"
for name in organizations native; do
    mkdir "$work/$name"
    tar -xf "$release/scopegate-$name.oci.tar" -C "$work/$name"
done
SCOPEGATE_IMAGE="$work/organizations" SCOPEGATE_NATIVE_IMAGE="$work/native" make test-image

step "done"
