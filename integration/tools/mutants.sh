#!/usr/bin/env bash
# Changes the code of the decision in every small way that cargo-mutants knows, one at a time,
# and lists the changes that no test of the core notices. It takes hours: SHARD=1/20 does a
# twentieth.
#
#   mutants.sh [ARGUMENT...]   arguments of cargo-mutants besides, such as --file src/gate/mod.rs
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"
cd "$top"

cargo_tool cargo-mutants 27.1.0
# The whole model takes longer than all other tests together.
export SCOPEGATE_SEQUENCES="${SCOPEGATE_SEQUENCES:-300}" PROPTEST_CASES="${PROPTEST_CASES:-64}"

files=()
case " $* " in
*" --file "* | *" -f "*) ;;
*) for folder in gate authn authz scoping worker; do files+=(--file "src/$folder/**/*.rs"); done
   files+=(--file src/forward.rs --file src/reply.rs) ;;
esac
exec cargo mutants --package scopegate --no-shuffle --output "${MUTANTS_OUTPUT:-target}" \
    ${SHARD:+--shard "$SHARD"} "${files[@]}" "$@" -- --lib --test core
