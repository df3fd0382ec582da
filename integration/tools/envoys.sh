#!/usr/bin/env bash
# Runs the tests that need an Envoy with several of them, and records what came of it in integration/envoys.txt, from
# which docs/compatibility.md has its table.
#
#   envoys.sh [VERSION...]    these, or else the newest of each minor version that PyPI has, and what Envoy Gateway takes
#
# TESTS names the test programs; without it all of the crate are run. The module must be there. A line of the record is
# replaced by the next run of that version. It ends with 1 if a test failed with one of them.
set -euo pipefail
top="$(cd "$(dirname "$0")/../.." && pwd)"
. "$top/integration/tools/deps.sh"

# Not 1.38.3, whose package is compiled without V8 and runs no module.
ENVOYS=(1.36.4 1.37.0 1.38.2 1.39.1 1.39.3 1.40.0)
record="$top/integration/envoys.txt"

[ $# -gt 0 ] || set -- "${ENVOYS[@]}"
commit="$(git -C "$top" rev-parse --short=12 HEAD)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
status=0
PROMETHEUS="$("$top/integration/tools/prometheus.sh")"
export PROMETHEUS

# With the features of `make test`, which has then built them already.
what=(--workspace --features scopegate/serve,scopegate/native)
for name in ${TESTS:-}; do what+=(--test "$name"); done
[ -n "${TESTS:-}" ] || what=(-p integration)
told="${TESTS:-all}"

# add VERSION PASSED FAILED SKIPPED
add() {
    {
        grep '^#' "$record"
        {
            grep -v -e '^#' -e "^$1 " "$record" || true
            printf '%s %s %s %s %s %s %s\n' "$1" "$(date -u +%F)" "$commit" "$2" "$3" "$4" "${told// /,}"
        } | sort -V
    } >"$record.part"
    mv "$record.part" "$record"
}

for version in "$@"; do
    ENVOY="$("$top/integration/tools/envoy.sh" "$version")"
    export ENVOY
    say "Envoy $version"
    (cd "$top" && cargo test --locked --no-fail-fast "${what[@]}") 2>&1 | tee "$work/output" || status=1
    counts="$(awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
        END { print passed + 0, failed + 0, skipped + 0 }' "$work/output")"
    # Nothing that ran is no result.
    [ "${counts%% *}" != 0 ] || die "no test ran with Envoy $version"
    # shellcheck disable=SC2086
    add "$version" $counts
    say "Envoy $version: $counts (passed, failed, skipped)"
done
exit "$status"
