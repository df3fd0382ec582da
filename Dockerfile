# The module as an image, in the form that Istio and Envoy Gateway both read ("compat"): one
# layer with one file, plugin.wasm. Nothing in it runs by itself.
#
#   make wasm                                  # target/scopegate.wasm
#   docker build --provenance=false --build-arg VERSION=0.2.0 -t registry.example.com/scopegate:0.2.0 .
#   docker push registry.example.com/scopegate:0.2.0     # prints the digest
#
# `make image` writes such an image without an engine, into target/image, and prints its digest, which is the one that
# a release has; skopeo, crane or oras push it, as in: skopeo copy oci:target/image docker://registry.example.com/scopegate:0.2.0
#
# With provenance the builder would push an index, and print its digest. Neither product takes
# an image by that: they want the digest of the manifest that has the layer.
#
# Name the digest, not the tag: envoy/istio/plugin.yaml (oci://…@sha256:…) and
# envoy/gateway/policy.yaml (…@sha256:…). Plain Envoy reads no images; it takes
# target/scopegate.wasm as a file (envoy/envoy.yaml).
#
# One COPY only: both readers look at the last layer. Labels add none.
FROM scratch
ARG VERSION=unknown
LABEL org.opencontainers.image.title="scopegate" \
      org.opencontainers.image.description="A proxy-wasm gate that makes Envoy a secure multi-tenant front for Loki, Mimir and Tempo" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY target/scopegate.wasm /plugin.wasm
