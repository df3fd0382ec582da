#!/usr/bin/env bash
# Prints a folder with a Kubernetes API to run on loopback, bin/etcd and bin/kube-apiserver, and with the clients
# bin/kubectl and bin/kustomize, built with Go from integration/control-planes once, into the cache. About four minutes.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

module="$(cd "$(dirname "$0")/../control-planes" && pwd)"
have go || die "no go to build etcd and kube-apiserver with: install Go 1.26 or newer (https://go.dev/dl/)"

# build FOLDER. A server that does not know its version does not start.
build() {
    local version="k8s.io/component-base/version"
    local server
    server="$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' "$module/go.mod")"
    mkdir -p "$1/bin"
    (cd "$module" && CGO_ENABLED=0 nice -n 10 go build -mod=readonly -trimpath \
        -gcflags "all=-dwarf=false -l" -ldflags "-s -w" -o "$1/bin/" \
        -ldflags "-s -w -X $version.gitVersion=$server -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<<"$server")" \
        go.etcd.io/etcd/server/v3 k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl \
        sigs.k8s.io/kustomize/kustomize/v5 </dev/null >&2)
    mv "$1/bin/server" "$1/bin/etcd"
}

key="$({
    sed -n '/^build()/,/^}/p' "$0"
    go version
    cat "$module"/go.mod "$module"/go.sum
} | sha256sum | cut -c1-12)"
folder="$SCOPEGATE_CACHE/stack/kubernetes-$key"
wait_for_cache kubernetes
if [ ! -d "$folder" ]; then
    say "building etcd and kube-apiserver from source: a few minutes, once"
    rm -rf "$folder.part"
    build "$folder.part"
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder"
