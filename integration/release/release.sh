#!/usr/bin/env bash
# Makes everything that a release is made of, in target/release-VERSION, from the commit that is checked out.
#
#   release.sh
#
# It wants a clean checkout whose commit has the tag vVERSION. With TRIAL=1 it takes any, and says what is in the way of a
# release. SCOPEGATE_SIGNING_KEY names the key to sign with (sign.py); without it nothing is signed. IMAGES is where the
# images will be, and stands in what is signed of them.
#
# The same commit gives the same bytes, in whatever folder and at whatever time, but for the signatures: check.sh.
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
here="$top/integration/release"
. "$top/integration/tools/deps.sh"
cd "$top"

started=$SECONDS
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)"
commit="$(git rev-parse --short=12 HEAD)"
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
IMAGES="${IMAGES:-registry.example.com}"

number="$(sed -n 's/^version: *//p' envoy/helm/Chart.yaml)"
[ "$number" = "$version" ] || die "envoy/helm/Chart.yaml is version $number, and Cargo.toml $version"

# What would make a release that nobody can make again.
amiss=()
if [ -n "$(git status --porcelain)" ]; then
    amiss+=("the checkout has changes that are not committed")
    commit="$commit-changed"
fi
[ "$(git rev-parse -q --verify "v$version^{commit}" || true)" = "$(git rev-parse HEAD)" ] ||
    amiss+=("this commit has not the tag v$version")
if [ ${#amiss[@]} -gt 0 ]; then
    printf 'no release: %s\n' "${amiss[@]}" >&2
    [ -n "${TRIAL:-}" ] || die "TRIAL=1 makes the files all the same, to look at them"
fi
export SCOPEGATE_COMMIT="$commit" SOURCE_DATE_EPOCH

output="$top/target/release-$version"
rm -rf "$output"
mkdir -p "$output"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# The programs.
"$top/integration/tools/wasm.sh" >/dev/null
cp target/scopegate.wasm "$output/"
for architecture in amd64 arm64; do
    "$top/integration/tools/linux.sh" command "$architecture" "$output/scopegate-linux-$architecture"
    "$top/integration/tools/linux.sh" module "$architecture" "$output/libscopegate-linux-$architecture.so"
done
"$top/integration/tools/playground.sh" >/dev/null
cp target/playground.html "$output/"

# The images, and the digests by which manifests name them.
image="$(python3 integration/tools/image.py "$output/scopegate.wasm" "$work/scopegate" "$version")"
organizations="$(python3 integration/tools/image.py --organizations "$work/scopegate-organizations" "$version" \
    "amd64=$output/scopegate-linux-amd64" "arm64=$output/scopegate-linux-arm64")"
both() { echo "$1=$output/scopegate-linux-$1,$output/libscopegate-linux-$1.so"; }
native="$(python3 integration/tools/image.py --native "$work/scopegate-native" "$version" "$(both amd64)" "$(both arm64)")"
images=(scopegate scopegate-native scopegate-organizations)
for name in "${images[@]}"; do
    python3 "$here/archive.py" "$work/$name" "$output/$name.oci.tar"
done
printf '%s@%s\n' scopegate "$image" scopegate-native "$native" scopegate-organizations "$organizations" >"$output/digests.txt"

# What is installed with them.
cp envoy/scopegate.schema.json envoy/deployment.schema.json "$output/"
cp -r envoy/monitoring "$work/scopegate-monitoring"
python3 "$here/archive.py" "$work/scopegate-monitoring" "$output/scopegate-monitoring.tar.gz" scopegate-monitoring/
chart="$(sed -n 's/^name: *//p' envoy/helm/Chart.yaml)"
python3 "$here/archive.py" envoy/helm "$output/$chart-$number.tgz" "$chart/"
"$here/sbom.sh" "$output"

(cd "$output" && find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)

if [ -n "${SCOPEGATE_SIGNING_KEY:-${COSIGN_KEY:-}}" ]; then
    python3 "$here/sign.py" public "$output/scopegate.pub"
    python3 "$here/sign.py" blob "$output/SHA256SUMS"
    for name in "${images[@]}"; do
        python3 "$here/sign.py" image "$work/$name" "$work/$name.sig" "$IMAGES/$name" >/dev/null
        python3 "$here/archive.py" "$work/$name.sig" "$output/$name.sig.oci.tar"
    done
    signed="signed with ${SCOPEGATE_SIGNING_KEY:-$COSIGN_KEY}"
else
    signed="NOT SIGNED: SCOPEGATE_SIGNING_KEY names no key"
fi

(cd "$output" && find . -type f -printf '%s %P\n' | LC_ALL=C sort -k2) |
    while read -r size name; do printf '%12d  %s\n' "$size" "$name"; done
printf '\n'
cat "$output/digests.txt"
printf '\n%s: version %s, commit %s, %s, %d s\n' "${output#"$top"/}" "$version" "$commit" "$signed" "$((SECONDS - started))"
