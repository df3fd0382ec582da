#!/usr/bin/env bash
# Prints the path of a folder with cargo-zigbuild and the Zig whose C compiler, linker and musl it uses; fetched from
# PyPI once, into the cache. Versions and hashes are pinned in integration/release/zig.txt, for Linux on x86-64.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

folder="$(python_of zig "$(dirname "$0")/../release/zig.txt")"
# Found by the path of the folder, as nothing else is that the two start.
ln -sfn "$(echo "$folder"/lib/python3.*/site-packages/ziglang/zig)" "$folder/bin/zig"
printf '%s\n' "$folder/bin"
