# `make` lists what you can do here.
#
# Nothing that is built or fetched is stored in the checkout, except target/scopegate.wasm.
# The rest is in $(SCOPEGATE_CACHE). If ENVOY, PROMETHEUS, WRK, H2LOAD, OHA and
# CARGO_TARGET_DIR are set, they are used as they are.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export SCOPEGATE_CACHE := $(abspath $(or $(SCOPEGATE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/scopegate))
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),$(SCOPEGATE_CACHE)/target))
export SCOPEGATE_WASM := $(CURDIR)/target/scopegate.wasm

tools := integration/tools
# The servers that the integration crate starts. They are looked for once, when a recipe first uses them.
servers = ENVOY="$$($(tools)/envoy.sh)"; PROMETHEUS="$$($(tools)/prometheus.sh)"; export ENVOY PROMETHEUS;
# The parts that are not available, so that the tests do not try to get them again. If the variable is set already,
# its value is used. parts.sh gets $(1).
missing = SCOPEGATE_MISSING="$${SCOPEGATE_MISSING-$$($(tools)/parts.sh $(1))}"; export SCOPEGATE_MISSING;
# These commands build the whole workspace with both features at once. With packages or features that differ from those
# of `make test` or of each other, two dozen crates would be built again.
heavy := --workspace --features scopegate/serve,scopegate/native,integration/drills,integration/stack

# HOST=native, or NATIVE=1, puts the native module in the place of the one in wasm, in every Envoy of the tests.
ifneq ($(filter native 1,$(HOST) $(NATIVE)),)
export SCOPEGATE_NATIVE := $(CURDIR)/target/libscopegate.so
wasm: native
endif

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Needs Rust 1.89 or newer. Envoy 1.37 or newer is taken from ENVOY or PATH,"
	@echo "else fetched."
	@echo "Builds and downloads are kept in $(SCOPEGATE_CACHE)"

.PHONY: wasm
wasm: ## build the module: target/scopegate.wasm
	@$(tools)/wasm.sh >/dev/null

version = $$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)

.PHONY: image
image: wasm ## write the module's image without an engine, as an OCI layout in target/image, and print its digest
	@python3 $(tools)/image.py "$(SCOPEGATE_WASM)" target/image "$(version)"

.PHONY: images
images: image ## write that of `serve-organizations` too, in target/organizations-image, for amd64 and arm64
	@for machine in amd64 arm64; do $(tools)/linux.sh command $$machine "target/scopegate-linux-$$machine" || exit; done
	@python3 $(tools)/image.py --organizations target/organizations-image "$(version)" \
		amd64=target/scopegate-linux-amd64 arm64=target/scopegate-linux-arm64

.PHONY: native-image
native-image: ## write the image of the native module, for both too, in target/native-image, and print its digest
	@for machine in amd64 arm64; do \
		$(tools)/linux.sh command $$machine "target/scopegate-linux-$$machine" && \
		$(tools)/linux.sh module $$machine "target/libscopegate-linux-$$machine.so" || exit; \
	done
	@file() { echo "$$1=target/scopegate-linux-$$1,target/libscopegate-linux-$$1.so"; }; \
	python3 $(tools)/image.py --native target/native-image "$(version)" "$$(file amd64)" "$$(file arm64)"

# Not in CI, where nothing is linked statically.
.PHONY: test-image
test-image: ## run the images of the command in empty roots; SCOPEGATE_IMAGE, SCOPEGATE_NATIVE_IMAGE name others
	@[ -n "$${SCOPEGATE_IMAGE:-}" ] || $(MAKE) images
	@[ -n "$${SCOPEGATE_NATIVE_IMAGE:-}" ] || $(MAKE) native-image
	@SCOPEGATE_IMAGE="$(abspath $(or $(SCOPEGATE_IMAGE),target/organizations-image))" \
	SCOPEGATE_NATIVE_IMAGE="$(abspath $(or $(SCOPEGATE_NATIVE_IMAGE),target/native-image))" \
	cargo test --locked -p integration --test image

.PHONY: release
release: ## make all files of a release in target/release-VERSION; signed if SCOPEGATE_SIGNING_KEY names a key; TRIAL=1
	@TRIAL="$(TRIAL)" integration/release/release.sh

.PHONY: release-check
release-check: ## make a release of this commit twice, in two folders, compare and verify it as a user does; two hours
	@integration/release/check.sh

.PHONY: sdk
sdk: ## build the same gate on the crate proxy-wasm, to compare: target/scopegate-sdk.wasm
	@$(tools)/sdk.sh >/dev/null

.PHONY: native
native: ## build the same gate as a native module for Envoy on Linux: target/libscopegate.so
	@$(tools)/native.sh >/dev/null

.PHONY: cli
cli: ## build the command `scopegate` for this machine: target/scopegate
	@cargo build --quiet --release --locked --features serve --bin scopegate
	@mkdir -p target && cp "$(CARGO_TARGET_DIR)/release/scopegate" target/scopegate.part && mv target/scopegate.part target/scopegate
	@echo target/scopegate

.PHONY: schema
schema: ## generate envoy/*.schema.json and docs/configuration.md from the table of keys
	@cargo build --quiet --locked --features cli --bin scopegate
	@"$(CARGO_TARGET_DIR)/debug/scopegate" schema >envoy/scopegate.schema.json
	@"$(CARGO_TARGET_DIR)/debug/scopegate" schema --deployment >envoy/deployment.schema.json
	@"$(CARGO_TARGET_DIR)/debug/scopegate" schema --markdown >docs/configuration.md
	@SCOPEGATE_WRITE=1 cargo test --quiet --locked --features cli --test chart >/dev/null

.PHONY: manifests
manifests: ## generate the files under envoy/ from envoy/deployment.yaml and the templates
	@cargo build --quiet --locked --features cli --bin scopegate
	@render() { "$(CARGO_TARGET_DIR)/debug/scopegate" render $$1 envoy/deployment.yaml --output-dir "$$2"; }; \
	render envoy envoy && render istio envoy/istio && render envoy-gateway envoy/gateway && \
	render kubernetes envoy/kustomize/envoy && \
	for file in gateway.yaml policy.yaml; do \
		render "envoy-gateway --native --only $$file" envoy/gateway/native || exit; \
	done; \
	sed '/^  module:/d' envoy/deployment.yaml | \
		"$(CARGO_TARGET_DIR)/debug/scopegate" render envoy --native - --output-dir envoy/native
	@SCOPEGATE_WRITE=1 cargo test --quiet --locked --features cli --test chart >/dev/null

.PHONY: run
run: wasm ## run Envoy with the module, an issuer and a Prometheus, until Ctrl-C
	@$(servers) exec cargo run --quiet --locked -p integration --bin scopegate-run

.PHONY: test
test: wasm ## run the native tests, and those of the module in a real Envoy
	@$(servers) VALGRIND="$$($(tools)/valgrind.sh || true)"; export VALGRIND; \
	python3 $(tools)/two_at_a_time.py --locked --workspace --features scopegate/serve,scopegate/native

.PHONY: drills
drills: wasm ## show what happens to valid requests while the provider rotates keys, stalls or dies
	@$(servers) cargo test --locked $(heavy) --test drills -- $(DRILL)

.PHONY: soak
soak: wasm ## everything at once for half an hour: memory stays flat, and nothing is left; SOAK_SECONDS=, HOST=native
	@$(servers) SCOPEGATE_SOAK_SECONDS="$(or $(SOAK_SECONDS),1800)" cargo test --locked $(heavy) --test soak

.PHONY: parts
parts: ## build or fetch what stack, test-stack and test-control-planes need, and print what is not available; PARTS="stack"
	@$(tools)/parts.sh $(PARTS)

.PHONY: stack
stack: wasm ## run the whole platform on this machine: real Loki, Mimir, Keycloak, agents; needs Go, Java, Maven
	@ENVOY="$$($(tools)/envoy.sh)"; export ENVOY; $(call missing,stack) \
	exec cargo run --quiet --locked -p integration --bin scopegate-stack

.PHONY: test-stack
test-stack: wasm ## run the tests with that platform; STACK="text" selects tests by their names
	@$(servers) $(if $(STACK),$(call missing,stack),$(call missing,test-stack)) \
	$(if $(STACK),exec cargo test --locked $(heavy) --test stack -- $(STACK),\
	failed=0; python3 $(tools)/two_at_a_time.py --locked $(heavy) --test stack $(beside_stack) || failed=1; \
	"$(CARGO_TARGET_DIR)/debug/scopegate-stack" --self-test || failed=1; exit $$failed)

# The tests that need parts but start no stack of their own. The printed commands come last, run by the program that
# was built for the tests.
beside_stack := --test manifests --test helm --test compose --test oracles --test openapi-answers --test kubernetes --test playground

.PHONY: test-native
test-native: wasm native ## run the scenario table and drills of the keys with the native module, and some rows in Envoy 1.38
	@ENVOY="$$($(tools)/envoy.sh)"; export ENVOY SCOPEGATE_NATIVE="$(CURDIR)/target/libscopegate.so"; \
	run() { cargo test --locked $(heavy) "$$@" || failed=1; }; failed=0; \
	SCOPEGATE_PANICS="$$($(tools)/native.sh panics)"; export SCOPEGATE_PANICS; \
	run --test scenarios_envoy; run --test native; run --test drills -- "a key"; run --test drills -- "one fetch for 2"; \
	run --test scopes -- a_body_waits; run --test keys -- both_engines; \
	ENVOY="$$($(tools)/envoy.sh 1.38.2)"; SCENARIO="$(or $(SCENARIO),gRPC)" run --test scenarios_envoy; \
	run --test native -- final_status a_panic a_worker_that metrics_outlive; \
	exit $$failed

.PHONY: races
races: ## run the hooks of the native module on several threads, under ThreadSanitizer and in valgrind; RACE_SECONDS=900 each
	@$(tools)/races.sh $(RACE_SECONDS)

.PHONY: test-control-planes
test-control-planes: wasm native ## run the manifests on the real Istio and Envoy Gateway; PLANES="istio" runs only what has that in its name
	@ENVOY="$$($(tools)/envoy.sh)"; export ENVOY SCOPEGATE_LIBRARY="$(CURDIR)/target/libscopegate.so"; \
	$(call missing,control-planes) \
	cargo test --locked $(heavy) --test control-planes -- $(PLANES)

.PHONY: fuzz
fuzz: ## put hostile bytes to all that reads some, an hour of CPU time in all; FUZZ_SECONDS=, FUZZ="token jwks"
	@fuzz/run.sh "$(or $(FUZZ_SECONDS),3600)" $(FUZZ)

.PHONY: fuzz-queries
fuzz-queries: ## let the backends' parsers read mutated queries, ten minutes for each language; FUZZ_SECONDS=, SCOPEGATE_SEED=
	@SCOPEGATE_FUZZ_SECONDS="$(or $(FUZZ_SECONDS),600)" \
	cargo test --locked $(heavy) --test oracles -- $(FUZZ)

.PHONY: mutants
mutants: ## change the decision's code in every small way, and list what no test notices; hours; SHARD=1/20, MUTANTS="--file …"
	@SHARD="$(SHARD)" $(tools)/mutants.sh $(MUTANTS)

.PHONY: deny
deny: ## check licences, duplicates and sources of all crates, and known faults of theirs if ADVISORY_DB names a database
	@$(tools)/deny.sh

.PHONY: integration
integration: wasm ## run only the tests in a real Envoy
	@$(servers) cargo test --locked --no-fail-fast -p integration

.PHONY: test-envoys
test-envoys: wasm ## run those tests with several versions of Envoy, and record the results; ENVOYS="1.36.4 1.40.0"
	@$(tools)/envoys.sh $(ENVOYS)

.PHONY: lint
lint: ## check format, clippy, documentation and prose
	@python3 $(tools)/prose.py
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	cargo fmt --check --manifest-path playground/Cargo.toml
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --manifest-path playground/Cargo.toml --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --document-private-items

# Without h2load or oha it runs, and says which rows it leaves out.
.PHONY: bench
bench: wasm native ## measure Envoy's CPU per request, latency and memory, compared with jwt_authn and RBAC; half an hour
	@ENVOY="$$($(tools)/envoy.sh)"; WRK="$$($(tools)/wrk.sh)"; \
	H2LOAD="$$($(tools)/h2load.sh || true)"; OHA="$$($(tools)/oha.sh || true)"; \
	SCOPEGATE_EMPTY_WASM="$$($(tools)/wasm.sh integration/bench/empty/Cargo.toml "$(CURDIR)/target/empty.wasm")"; \
	SCOPEGATE_SDK_WASM="$$($(tools)/sdk.sh)"; \
	SCOPEGATE_EMPTY_NATIVE="$$($(tools)/native.sh integration/bench/empty-native/Cargo.toml "$(CURDIR)/target/libempty.so")"; \
	export ENVOY WRK H2LOAD OHA SCOPEGATE_EMPTY_WASM SCOPEGATE_EMPTY_NATIVE SCOPEGATE_SDK_WASM SCOPEGATE_NATIVE="$(CURDIR)/target/libscopegate.so"; \
	exec python3 integration/bench/bench.py $(BENCH)

.PHONY: bench-queries
bench-queries: ## measure what scoping a query costs, natively and in V8; needs Node
	@queries="$$($(tools)/wasm.sh integration/bench/queries/Cargo.toml "$(CURDIR)/target/queries.wasm")"; \
	cargo run --quiet --locked --release --manifest-path integration/bench/queries/Cargo.toml -- \
		$$(node integration/bench/queries/run.mjs "$$queries")

.PHONY: playground
playground: ## a page that explains requests in a browser, offline: target/playground.html
	@$(tools)/playground.sh

.PHONY: docs
docs: ## build a site from the pages in docs/: target/docs/index.html; walk a Chromium through the playground
	@MDBOOK="$$($(tools)/mdbook.sh)"; export MDBOOK; $(tools)/docs.sh
	@cargo test --quiet --locked $(heavy) --test playground -- browser

.PHONY: clean
clean: ## remove what was built, but not downloads or a CARGO_TARGET_DIR of your own
	rm -rf target "$(SCOPEGATE_CACHE)/target"

.PHONY: distclean
distclean: clean ## remove the downloads too
	cd "$(SCOPEGATE_CACHE)" 2>/dev/null || exit 0; rm -rf envoy-* prometheus wrk h2load valgrind oha-* cargo-* mdbook-* pip stack lock lock-* no-wasm32-*
