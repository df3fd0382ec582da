#!/usr/bin/env bash
# Builds target/docs, a site of the pages that docs/SUMMARY.md lists, with MDBOOK. Then every link
# of the site must lead to a file and an anchor that are there.
#
# mdBook wants all pages in one folder, and links lead out of docs/ (to envoy/, src/ and more).
# So that folder is put together first: the pages, and whatever they link to.
set -euo pipefail
cd "$(dirname "$0")/../.."
. integration/tools/deps.sh

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cp docs/book.toml "$work/"

# The paths of the pages.
pages() { sed -nE 's#.*\]\(([^)]*)\).*#docs/\1#p' docs/SUMMARY.md | sed 's#^docs/\.\./##'; }
# A README is the index of its folder, and links lead to it by that name.
as_index() { sed -E 's#(\]\([^): ]*)README\.md#\1index.md#g'; }

# The files and folders of this repository that a page links to.
linked() {
    { grep -oE '\]\([^)# ]+' "$1" || true; } | cut -c3- | { grep -vE '^[a-z]+:' || true; } |
        while read -r link; do realpath -m --relative-to=. "$(dirname "$1")/$link"; done
}

folders=()
while read -r page; do
    copy="$work/src/$(sed 's#README\.md$#index.md#' <<<"$page")"
    mkdir -p "$(dirname "$copy")"
    as_index <"$page" >"$copy"
    while read -r target; do
        [ -d "$target" ] && folders+=("$target")
        [ "$target" = . ] || find "$target" -type f -not -name '*.md' -exec cp --parents -t "$work/src/" {} +
    done < <(linked "$page")
done < <(pages)
sed -E 's#\]\(([^.])#](docs/\1#; s#\]\(\.\./#](#' docs/SUMMARY.md | as_index >"$work/src/SUMMARY.md"

# The playground is a page of its own at the top of the site.
cp "$(integration/tools/playground.sh)" "$work/src/playground.html"
sed -i 's#`target/playground.html`#[`playground.html`](../playground.html)#' "$work/src/docs/playground.md"

"$MDBOOK" build --dest-dir "$work/site" "$work" >&2

# A folder without a page gets a list of what is in it.
for folder in "${folders[@]}"; do
    index="$work/site/$folder/index.html"
    [ -e "$index" ] && continue
    mkdir -p "$(dirname "$index")"
    {
        printf '<!doctype html><meta charset="utf-8"><title>%s</title><ul>\n' "$folder"
        (cd "$folder" && find . -type f -not -name '*.md' | sort | sed -E 's#^\./(.*)#<li><a href="\1">\1</a>#')
    } >"$index"
done

python3 integration/tools/site.py "$work/site" >&2
mkdir -p target
rm -rf target/docs
mv "$work/site" target/docs
echo target/docs/index.html
