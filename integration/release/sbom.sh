#!/usr/bin/env bash
# Lists what the modules and the command are made of, as CycloneDX documents: every crate that is compiled into them, with
# its licence, its package URL and the hash in Cargo.lock. Tests and what only builds are not in them, and neither is what
# only macros need.
#
#   sbom.sh FOLDER    FOLDER/scopegate.wasm.cdx.json, FOLDER/scopegate-linux.cdx.json, FOLDER/libscopegate-linux.cdx.json
#
# SOURCE_DATE_EPOCH is their time, so that the same source gives the same bytes.
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"

output="$(cd "${1:?usage: sbom.sh FOLDER}" && pwd)"
: "${SOURCE_DATE_EPOCH:?the time of the commit}"
export SOURCE_DATE_EPOCH CARGO_NET_OFFLINE=true
cyclonedx="$("$top/integration/tools/cyclonedx.sh")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# The crate by itself: beside the tests, Cargo would give it their features and the crates that these need.
cp -r "$top/src" "$top/Cargo.lock" "$top/README.md" "$work"
awk '/^\[/ { left_out = /^\[(dev-dependencies|\[test\]|workspace)\]/ } !left_out' "$top/Cargo.toml" >"$work/Cargo.toml"

# document NAME TARGET FEATURES...
document() {
    (cd "$work" && "$cyclonedx" cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --all \
        --override-filename document --target "$2" "${@:3}" >&2)
    # cargo-cyclonedx goes by what might be compiled with some features. Cargo says what is.
    (cd "$top" && cargo tree --locked -p scopegate -e normal,no-proc-macro --target "$2" "${@:3}" \
        --prefix none --no-dedupe --format '{p}') >"$work/compiled"
    # Where the copy lay is nobody's business. The number says which document it is by what is in it.
    python3 - "$work" "$work/document.json" "$output/$1.cdx.json" "$work/compiled" <<'PYTHON'
import json, sys, uuid
folder, source, output, compiled = sys.argv[1:]
document = json.loads(open(source).read().replace(f"path+file://{folder}", "path+file:///scopegate"))
words = [line.split() for line in open(compiled) if line.strip()]
crates = {(word[0], word[1].removeprefix("v")) for word in words}
named = {component["bom-ref"]: (component["name"], component["version"]) for component in document["components"]}
missing = crates - set(named.values()) - {("scopegate", document["metadata"]["component"]["version"])}
if missing:
    sys.exit(f"compiled, and not listed: {sorted(missing)}")
gone = {ref for ref, crate in named.items() if crate not in crates}
document["components"] = [it for it in document["components"] if it["bom-ref"] not in gone]
document["dependencies"] = [
    {**it, **({"dependsOn": [ref for ref in it["dependsOn"] if ref not in gone]} if "dependsOn" in it else {})}
    for it in document["dependencies"]
    if it["ref"] not in gone
]
content = json.dumps(document, indent=1, sort_keys=True)
document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, content).urn
open(output, "w").write(json.dumps(document, indent=1, sort_keys=True) + "\n")
PYTHON
}

document scopegate.wasm wasm32-wasip1
document scopegate-linux x86_64-unknown-linux-musl --features serve
document libscopegate-linux x86_64-unknown-linux-gnu --features native
