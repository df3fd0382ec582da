#!/usr/bin/env bash
# Prints a folder with the control planes of Istio and Envoy Gateway, built with Go from integration/control-planes once,
# into the cache, beside the API that kubernetes.sh prints. About five minutes after that.
#
#   bin/pilot-discovery, bin/pilot-agent, bin/envoy-gateway    the programs
#   bin/registry                                               a registry of images
#   bin/crane                                                  a client of such a registry
#   istio-definitions.yaml, istio-base.yaml, istiod.yaml       what Istio's charts install
#   envoy-gateway.yaml                                         what Envoy Gateway's chart installs, with its definitions
#   gateway-api.yaml                                           the definitions of the Gateway API, standard channel
#   envoy_bootstrap.json                                       Istio's template of a proxy's bootstrap
set -euo pipefail
. "$(dirname "$0")/deps.sh"

GATEWAY_API=v1.7.0
GATEWAY_API_SUM=h1:duVnm7nO6oXfMMUWfcDoBph47CYR/ME3NGxccOVglaY=

module="$(cd "$(dirname "$0")/../control-planes" && pwd)"
have go || die "no go to build the control planes with: install Go 1.26 or newer (https://go.dev/dl/)"

# version_of MODULE
version_of() { awk -v module="$1" '$1 == module { print $2; exit }' "$module/go.mod"; }
# source_of MODULE: its folder in Go's cache.
source_of() { (cd "$module" && go list -mod=readonly -m -f '{{.Dir}}' "$1"); }

# The definitions of the Gateway API as one file. Nothing of the module is compiled, so a newer Go that its go.mod asks
# for is no obstacle, though the command reports it as an error.
gateway_api() {
    local told
    told="$(cd /tmp && GOTOOLCHAIN=local GOFLAGS= GOWORK=off go mod download -json "sigs.k8s.io/gateway-api@$GATEWAY_API" || true)"
    python3 - "$GATEWAY_API_SUM" "$told" <<'PYTHON'
import json, sys, zipfile
told = json.loads(sys.argv[2])
if told.get("Sum") != sys.argv[1]:
    sys.exit(f"the Gateway API cannot be had: {told.get('Error') or 'its sum is ' + str(told.get('Sum'))}")
archive = zipfile.ZipFile(told["Zip"])
for name in sorted(archive.namelist()):
    if "/config/crd/standard/gateway.networking.k8s.io_" in name:
        print("---\n" + archive.read(name).decode())
PYTHON
}

# build FOLDER
build() {
    local istio gateway chart="$1/bin/chart" work="$1/work" kubernetes
    kubernetes="$(version_of k8s.io/kubernetes)"
    mkdir -p "$1/bin" "$work"
    (cd "$module" && CGO_ENABLED=0 nice -n 10 go build -mod=readonly -trimpath \
        -gcflags "all=-dwarf=false -l" -ldflags "-s -w" -o "$1/bin/" \
        istio.io/istio/pilot/cmd/pilot-agent istio.io/istio/pilot/cmd/pilot-discovery \
        github.com/envoyproxy/gateway/cmd/envoy-gateway github.com/google/go-containerregistry/cmd/crane \
        ./chart ./registry </dev/null >&2)
    istio="$(source_of istio.io/istio)"
    gateway="$(source_of github.com/envoyproxy/gateway)"
    # A stock Envoy lacks Istio's own filters.
    cat >"$work/istiod-values.yaml" <<'YAML'
autoscaleEnabled: false
telemetry: {enabled: false}
env: {PILOT_ENABLE_METADATA_EXCHANGE: "false", PILOT_ENABLE_ALPN_FILTER: "false", PILOT_ENABLE_TELEMETRY_LABEL: "false"}
YAML
    echo 'config: {envoyGateway: {extensionApis: {enableBackend: true}}}' >"$work/gateway-values.yaml"
    cp -r "$gateway/charts/gateway-helm" "$work/gateway-helm"
    chmod -R u+w "$work"
    sed -e "s#\${GatewayImage}#envoyproxy/gateway:$(version_of github.com/envoyproxy/gateway)#" \
        -e 's#${GatewayImagePullPolicy}#IfNotPresent#' \
        "$work/gateway-helm/values.tmpl.yaml" >"$work/gateway-helm/values.yaml"
    "$chart" "$istio/manifests/charts/base" istio-base istio-system "$kubernetes" >"$1/istio-base.yaml"
    "$chart" "$istio/manifests/charts/istio-control/istio-discovery" istiod istio-system "$kubernetes" \
        "$work/istiod-values.yaml" >"$1/istiod.yaml"
    "$chart" "$work/gateway-helm" eg envoy-gateway-system "$kubernetes" "$work/gateway-values.yaml" >"$1/envoy-gateway.yaml"
    cp "$istio/manifests/charts/base/files/crd-all.gen.yaml" "$1/istio-definitions.yaml"
    cp "$istio/tools/packaging/common/envoy_bootstrap.json" "$1/"
    gateway_api >"$1/gateway-api.yaml"
    chmod -R u+w "$1"
    rm -rf "$work" "$chart"
}

key="$({
    cat "$0" "$module"/go.mod "$module"/go.sum "$module"/*/*.go
    go version
} | sha256sum | cut -c1-12)"
folder="$SCOPEGATE_CACHE/stack/control-planes-$key"
wait_for_cache control-planes
if [ ! -d "$folder" ]; then
    say "building the control planes of Istio and Envoy Gateway from source: about five minutes, once"
    rm -rf "$folder.part"
    build "$folder.part"
    mv "$folder.part" "$folder"
fi
printf '%s\n' "$folder"
