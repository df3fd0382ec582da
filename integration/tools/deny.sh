#!/usr/bin/env bash
# Checks the crates that everything here depends on: licences, duplicates, sources, and known
# vulnerabilities if ADVISORY_DB names a copy of https://github.com/rustsec/advisory-db.
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"
cd "$top"

cargo_tool cargo-deny 0.20.2

cargo deny --locked --workspace --all-features check licenses bans sources
if [ -z "${ADVISORY_DB:-}" ]; then
    say "skipped: advisories: ADVISORY_DB names no copy of https://github.com/rustsec/advisory-db"
    exit
fi
# cargo-deny looks for a database in a folder of its own, by a name that it makes from the address.
databases="$(mktemp -d)"
trap 'rm -rf "$databases"' EXIT
config="$databases/deny.toml"
cp deny.toml "$config"
sed -i "s|^\[advisories\]|[advisories]\ndb-path = \"$databases/db\"\ndb-urls = [\"file://$(realpath "$ADVISORY_DB")\"]|" "$config"
cargo deny --locked --workspace --all-features check --config "$config" advisories
