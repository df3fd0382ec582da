"""Whether every link of a built site leads to a file, and to an anchor, that are there."""

import pathlib
import sys
import urllib.parse
from html.parser import HTMLParser


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.anchors, self.links = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(filter(None, [attributes.get("id"), attributes.get("name")]))
        self.links.update(filter(None, [attributes.get("href"), attributes.get("src")]))


def main(root):
    pages = {path.resolve(): Page(path) for path in root.rglob("*.html")}
    faults, count = [], 0
    for path, page in pages.items():
        # Both repeat pages of which the first is at another place.
        if path.name in ("404.html", "print.html", "toc.html"):
            continue
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            if not target.exists():
                faults.append(f"{path.relative_to(root)}: {link} is not there")
            elif parts.fragment and target in pages:
                if urllib.parse.unquote(parts.fragment) not in pages[target].anchors:
                    faults.append(f"{path.relative_to(root)}: {link} has no such anchor")
    print(f"{len(pages)} pages, {count} links")
    if faults or count < 500:
        sys.exit("\n".join(sorted(faults)) or "too few links to be the site")


main(pathlib.Path(sys.argv[1]).resolve())
