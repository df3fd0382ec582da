#!/usr/bin/env bash
# Builds or fetches what the heavy tests need, all of it before any of them starts a server,
# and prints what cannot be had, a line `PART: REASON` each. The tests take that list from
# SCOPEGATE_MISSING and skip, by name, what needs those parts.
#
#   parts.sh                   all parts
#   parts.sh stack             those of `make stack`
#   parts.sh test-stack        those of `make test-stack`
#   parts.sh control-planes    those of `make test-control-planes`
#
# What variables name is neither built nor fetched. It ends with 0 whatever is missing, and
# after $SCOPEGATE_PARTS_SECONDS at the latest.
set -euo pipefail
tools="$(cd "$(dirname "$0")" && pwd)"
. "$tools/deps.sh"

# A quarter of an hour were measured on two busy cores, five minutes of it for one part.
all_seconds="${SCOPEGATE_PARTS_SECONDS:-1500}"
# So that one download that stands still leaves time for the others.
part_seconds=$((all_seconds * 3 / 5))

# In two lanes: while the one waits for a network or links, the other compiles. The oracles
# come after the servers that they share most packages with.
case "${1:-all}" in
all) one=(loki mimir prometheus oracles kubernetes control-planes) other=(keycloak collector dex manifests helm openapi compose lezer grafana browser tempo) ;;
test-stack) one=(loki mimir prometheus oracles kubernetes) other=(keycloak collector dex manifests helm openapi compose lezer grafana browser tempo) ;;
stack) one=(loki mimir prometheus) other=(keycloak collector) ;;
control-planes) one=(kubernetes control-planes) other=(helm) ;;
*) die "usage: parts.sh [stack | test-stack | control-planes]" ;;
esac

# named VARIABLE...: is each of them set?
named() {
    local variable
    for variable in "$@"; do
        [ -n "${!variable:-}" ] || return 1
    done
}

is_named() {
    case "$1" in
    loki) named LOKI LOGCLI ;;
    mimir) named MIMIR || named SCOPEGATE_MIMIR_ADDRESS ;;
    prometheus) named PROMETHEUS_AGENT PROMTOOL ;;
    collector) named OTELCOL ;;
    keycloak) named KEYCLOAK ;;
    openapi) named OPENAPI_PYTHON ;;
    dex) named DEX ;;
    helm) named HELM ;;
    tempo) named TEMPO ;;
    *) false ;;
    esac
}

script_of() {
    case "$1" in
    loki | mimir | prometheus | collector | dex | keycloak) printf '%s\n' "$tools/part.sh" "$1" ;;
    *) printf '%s\n' "$tools/$1.sh" ;;
    esac
}

work="$(mktemp -d)"
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# reason LOG: what a script dies of; else what it ran says first of an error, or last at all.
# Maven and npm end with advice.
reason() {
    {
        grep '^error: ' "$1" | tail -n 1 | sed 's/^error: //' | grep . ||
            grep -i -m 1 error "$1" ||
            grep '[^[:space:]]' "$1" | tail -n 1 | grep . ||
            echo "not a word about why"
    } | sed 's/^[[:space:]]*//'
}

# get PART: leaves the reason in $work/PART.missing if it cannot be had.
get() {
    local part="$1" log="$work/$1.log" started=$SECONDS seconds=$((all_seconds - SECONDS)) script status=0
    [ "$seconds" -lt "$part_seconds" ] || seconds=$part_seconds
    if [ "$seconds" -le 0 ]; then
        echo "no time was left for it" >"$work/$part.missing"
        return
    fi
    mapfile -t script < <(script_of "$part")
    # Its whole process group ends, and what it holds locked is free again.
    timeout --kill-after=10 "$seconds" "${script[@]}" </dev/null >/dev/null 2>"$log" &
    running=$!
    wait "$running" || status=$?
    if [ "$status" = 0 ]; then
        say "$part: ready after $((SECONDS - started)) s"
        return
    fi
    # In one piece: the other lane speaks as well.
    say "$part: not to be had; the end of what was said:
$(tail -n 20 "$log" | sed 's/^/    /')"
    if [ "$status" = 124 ] || [ "$status" = 137 ]; then
        echo "not there after $seconds s"
    else
        reason "$log"
    fi >"$work/$part.missing"
}

lane() {
    local part running=
    trap 'kill $running 2>/dev/null; exit 1' TERM
    for part in "$@"; do
        is_named "$part" || get "$part"
    done
}

say "building or fetching, unless they are there: ${one[*]} ${other[*]}"
lane "${one[@]}" &
lane "${other[@]}" &
wait
for part in "${one[@]}" "${other[@]}"; do
    [ ! -f "$work/$part.missing" ] || printf '%s: %s\n' "$part" "$(cat "$work/$part.missing")"
done
