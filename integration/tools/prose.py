#!/usr/bin/env python3
"""What a program can check of the prose: Markdown, and the doc comments of `src`.

    prose.py            checks every file that Git knows or could add; exits 1 if anything is found

Four rules. No line of prose is longer than LONGEST, without where its links lead. Nothing uses the words that CONTRIBUTING.md forbids, in
its table "Words to leave out". Every link, and every path of this repository in back quotes, leads to a file
that is there; a section sign stands behind the name of a published standard. No doc comment is a question
word alone. Code, what stands between quotation marks, and tables (of the rule about length) are left out.
"""

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]

# Characters in a line of prose, indentation included. In `src` it is what rustfmt gives to code.
LONGEST = {"rust": 100, "markdown": 120}
# README.md has a few longer lines, and a generated page has a line for a paragraph.
LONGEST_OF = {"docs/configuration.md": 1_000}

# What begins like this in back quotes is a path in this repository.
FOLDERS = ("docs/", "envoy/", "integration/", "src/", "tests/", ".ci/")

TABLE = "### Words to leave out"
STANDARD = re.compile(r"(RFC \d+|Core|Discovery( \d\.\d)?|SEC \d|ABI \S+),?(\s+errata)?\s*$")
QUESTION = re.compile(r"(And )?(how|what|when|where|which|who|whom|whose|why)( much| many| long)?\W*", re.IGNORECASE)


def forbidden(contributing):
    """The expressions in the first column of the table, each in back quotes."""
    section = contributing.split(TABLE, 1)[1].split("\n#", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    words = [word for row in rows for word in re.findall(r"`([^`]+)`", row)]
    if len(words) < 10:
        raise SystemExit(f"CONTRIBUTING.md: no table of words under {TABLE!r}")
    return [(word, re.compile(rf"(?<![\w-]){pattern(word)}(?![\w-])", re.IGNORECASE)) for word in words]


def pattern(word):
    return r"\s+".join(re.escape(part) for part in word.split())


class Paragraph:
    """Lines of prose that belong together, as (number, text)."""

    def __init__(self, lines):
        self.lines = lines
        self.text = "\n".join(text for _, text in lines)

    def line_of(self, offset):
        return self.lines[self.text.count("\n", 0, offset)][0]

    def without(self, *expressions):
        """The text with each match blanked, so that offsets stay."""
        text = self.text
        for expression in expressions:
            text = re.sub(expression, lambda m: re.sub(r"[^\n]", " ", m[0]), text)
        return text


CODE = r"(`+)(?:(?!\1).|\n)+?\1"
QUOTED = r"\"[^\"]*\"|\u201c[^\u201d]*\u201d"
TARGET = r"\]\([^)]*\)"


def paragraphs_of_markdown(text):
    found, lines, fence = [], [], None
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and (fence is None or mark[1].startswith(fence)):
            fence, line = (mark[1], "") if fence is None else (None, "")
        elif fence:
            continue
        # A row, a heading and an item each begin anew.
        begins = re.match(r"\s*(\||#|[-*] |\d+\. )", line)
        if not line.strip() or begins:
            found.append(Paragraph(lines))
            lines = []
        if line.strip():
            lines.append((number, line))
    found.append(Paragraph(lines))
    return [paragraph for paragraph in found if paragraph.lines]


def paragraphs_of_rust(text):
    """Doc comments alone; a paragraph ends where the comment does."""
    found, lines, fenced = [], [], False
    for number, line in enumerate(text.splitlines(), 1):
        comment = re.match(r"\s*//[/!](?!/) ?(.*)", line)
        said = comment[1] if comment else ""
        if said.lstrip().startswith("```"):
            fenced, said = not fenced, ""
        fenced = fenced and bool(comment)
        if fenced:
            continue
        if not said.strip() or re.match(r"\s*(\||#|[-*] |\d+\. )", said):
            found.append(Paragraph(lines))
            lines = []
        if said.strip():
            lines.append((number, said))
    found.append(Paragraph(lines))
    return [paragraph for paragraph in found if paragraph.lines]


def is_there(path, base):
    """Whether a file is there, or one at least that a pattern fits."""
    if any(mark in path for mark in "<>…{}$ "):
        return True
    if "*" in path:
        return any(base.glob(path))
    return (base / path).exists()


def problems(name, text, words):
    """What is wrong in a file, as (line, what)."""
    rust = name.endswith(".rs")
    longest = LONGEST_OF.get(name, LONGEST["rust" if rust else "markdown"])
    whole = text.splitlines()
    found = []
    for paragraph in paragraphs_of_rust(text) if rust else paragraphs_of_markdown(text):
        first = paragraph.lines[0][1].lstrip()
        for number, line in paragraph.lines:
            # Where a link leads is not read, and a command should not be broken.
            bare = re.sub(TARGET, "]", whole[number - 1])
            length = len(re.sub(CODE, lambda m: m[0][:40], bare))
            if length > longest and not first.startswith("|"):
                found.append((number, f"{length} characters; at most {longest}"))
        prose = paragraph.without(CODE, TARGET, QUOTED)
        for word, expression in words:
            for match in expression.finditer(prose):
                found.append((paragraph.line_of(match.start()), f"{word!r}: see CONTRIBUTING.md"))
        for match in re.finditer("§", prose):
            if not STANDARD.search(prose[: match.start()]):
                found.append((paragraph.line_of(match.start()), "a section of what?"))
        if rust and len(paragraph.lines) == 1 and QUESTION.fullmatch(first):
            number = paragraph.lines[0][0]
            if not any(is_comment(whole, near) for near in (number - 1, number + 1)):
                found.append((number, f"{first!r} tells a reader nothing"))
        found += dangling(name, paragraph)
    return sorted(set(found))


def is_comment(lines, number):
    return 0 < number <= len(lines) and re.match(r"\s*//[/!]\s*\S", lines[number - 1]) is not None


def dangling(name, paragraph):
    targets = [] if name.endswith(".rs") else re.finditer(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", paragraph.without(CODE))
    for match in targets:
        target = match[1]
        if not re.match(r"[a-z]+:", target) and not is_there(target, (TOP / name).parent):
            yield paragraph.line_of(match.start()), f"no such file: {target}"
    for match in re.finditer(r"(?<!`)`([^`\s]+)`(?!`)", paragraph.text):
        path = match[1].split("#")[0].split("::")[0].rstrip(":")
        # From the top, or from a folder that the file is in.
        bases = [TOP / folder for folder in Path(name).parents]
        if path.startswith(FOLDERS) and not any(is_there(path + end, base) for end in ("", ".rs") for base in bases):
            yield paragraph.line_of(match.start()), f"no such file: {path}"


def canary(words):
    """The rules must notice what breaks them, or their silence says nothing."""
    word = words[0][0]
    broken = {
        "docs/x.md": [
            ("a " * 70, "characters"),
            (f"It is {word} so.", repr(word)),
            ("[x](../none.md)", "no such file"),
            ("`docs/none.md`", "no such file"),
            ("As §9 has it.", "a section"),
        ],
        "src/x.rs": [
            (f"    /// {'a ' * 60}", "characters"),
            (f"//! It is\n//! {word} so.", repr(word)),
            ("/// See `tests/none.rs`.", "no such file"),
            ("/// Whose.\nx: u8,", "nothing"),
        ],
    }
    sound = {
        "docs/x.md": ["```\n" + "a " * 70 + "\n```", f"`{word}`", f'"{word}"', "[x](../README.md#x)", "RFC 9110 §9"],
        "src/x.rs": [f'let text = "{word}";', "// Whose.", "/// RFC 9110\n/// §9", "/// Whose\n/// it is.\nx: u8,"],
    }
    for name, texts in broken.items():
        for text, what in texts:
            if not any(what in said for _, said in problems(name, text, words)):
                raise SystemExit(f"the rules do not notice {text!r}")
    for name, texts in sound.items():
        for text in texts:
            if problems(name, text, words):
                raise SystemExit(f"the rules refuse {text!r}: {problems(name, text, words)}")


def main():
    words = forbidden((TOP / "CONTRIBUTING.md").read_text())
    canary(words)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md", "src/**.rs"]
    names = subprocess.run(listed, cwd=TOP, check=True, capture_output=True, text=True).stdout.split("\0")
    names = sorted(name for name in names if name and (TOP / name).exists())
    found = [(name, *it) for name in names for it in problems(name, (TOP / name).read_text(), words)]
    for name, line, what in found:
        print(f"{name}:{line}: {what}")
    if found:
        sys.exit(f"{len(found)} problems in the prose of {len({name for name, *_ in found})} files")
    print(f"the prose of {len(names)} files keeps the rules")


if __name__ == "__main__":
    main()
