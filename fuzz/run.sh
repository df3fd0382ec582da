#!/usr/bin/env bash
# Runs the fuzzers for SECONDS of CPU time altogether, a processor to each, and adds to the corpora what has
# reached something new. It ends with 1 if a law was broken or anything panicked; the input is
# then printed, and stays in a file.
#
#   run.sh SECONDS [TARGET...]
#
# The compiler of the project does; the sanitizers, which only a nightly one has, look for what
# safe code does not do.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/../integration/tools/deps.sh"

seconds="${1:?usage: run.sh SECONDS [TARGET...]}"
shift
mapfile -t targets < <(if [ $# -gt 0 ]; then printf '%s\n' "$@"; else ls "$here/corpus" | sed 's/\.txt$//'; fi)

known=" $(ls "$here/corpus" | sed 's/\.txt$//' | tr '\n' ' ')"
for target in "${targets[@]}"; do
    [[ "$known" == *" $target "* ]] || die "no target $target: there are$known"
done
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || die "$seconds is no number of seconds"

cargo_tool cargo-fuzz 0.13.2
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$SCOPEGATE_CACHE/target}/fuzz"

cd "$here/.."
work="$CARGO_TARGET_DIR/work"
mkdir -p "$work"
cargo fuzz build --release --sanitizer none >&2
triple="$(rustc -vV | sed -n 's/^host: //p')"
programs="$CARGO_TARGET_DIR/$triple/release"

# At a time as many as there are processors.
slots="$(nproc)"
each=$((seconds / ${#targets[@]}))
[ "$each" -gt 0 ] || each=1
say "${#targets[@]} fuzzers, $each s each, $slots at a time"

# fuzz TARGET
fuzz() {
    local target="$1" folder="$work/$1"
    rm -rf "$folder" && mkdir -p "$folder"/{known,found,least,broken}
    python3 "$here/corpus.py" unpack "$here/corpus/$target.txt" "$folder/known"
    # Once more those that a file of queries or the like holds for other tests.
    if [ -f "$here/../tests/queries/$target.txt" ]; then
        python3 "$here/corpus.py" lines "$here/../tests/queries/$target.txt" "$folder/found"
    fi
    if ! "$programs/$target" -max_total_time="$each" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="$folder/broken/" "$folder/found" "$folder/known" \
        >"$folder/log" 2>&1; then
        printf '%s: BROKEN\n' "$target"
        grep -a -A 1 panicked "$folder/log" || tail -n 20 "$folder/log"
        return 1
    fi
    "$programs/$target" -merge=1 -verbosity=0 "$folder/least" "$folder/known" "$folder/found" >"$folder/merge" 2>&1
    printf '%-14s %10s runs, %5s inputs cover all that it has reached\n' "$target" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/log")" "$(ls "$folder/least" | wc -l)"
    python3 "$here/corpus.py" add "$here/corpus/$target.txt" "$folder/least"
}

broken=0
running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "$slots" ]; then
        wait -n || broken=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || broken=1
    running=$((running - 1))
done
exit "$broken"
