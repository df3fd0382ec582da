#!/usr/bin/env bash
# Prints a folder with what Kubernetes manifests are validated with:
#   bin/kubeconform
#   bin/kustomize, which builds the bases
#   schemas/<group>/<kind>_<version>.json
# built and fetched once, into the cache. Needs Go 1.26 or newer; versions and sums are
# pinned in integration/stack/manifests.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

module="$(cd "$(dirname "$0")/../stack/manifests" && pwd)"
have go || die "no go to build kubeconform with: install Go 1.26 or newer (https://go.dev/dl/)"

key="$(cat "$module"/go.mod "$module"/go.sum "$module"/*.go "$0" | sha256sum | cut -c1-16)"
folder="$SCOPEGATE_CACHE/stack/manifests-$key"
wait_for_cache manifests
if [ ! -d "$folder" ]; then
    say "building kubeconform and kustomize, and schemas of Istio, Envoy Gateway, the Gateway API and Kubernetes"
    rm -rf "$folder.part"
    mkdir -p "$folder.part/bin"
    (cd "$module" && CGO_ENABLED=0 nice -n 10 go build -mod=readonly -trimpath \
        -gcflags "all=-dwarf=false -l" -ldflags "-s -w" -o "$folder.part/bin/" \
        github.com/yannh/kubeconform/cmd/kubeconform sigs.k8s.io/kustomize/kustomize/v5 . </dev/null >&2)
    "$folder.part/bin/manifests" "$folder.part/schemas" >&2
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder"
