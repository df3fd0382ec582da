#!/usr/bin/env python3
"""Corpora between the form that is committed, an input to a line, and that of libFuzzer, a file to an input.

    corpus.py unpack FILE FOLDER    a file for each line
    corpus.py lines FILE FOLDER     the same for a file of plain texts in which lines with ## are headings
    corpus.py add FILE FOLDER       the file with the inputs of the folder, the shortest first, within its bounds
"""

import hashlib
import pathlib
import re
import sys

# So that replaying it takes a second or two, and a change of it can be read.
MOST_INPUTS = 400
LONGEST = 1024

ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)", re.DOTALL)
LETTERS = {b"t": b"\t", b"r": b"\r", b"n": b"\n"}


def unescaped(line):
    def byte(match):
        code = match[1]
        return bytes.fromhex(code[1:].decode()) if code[:1] == b"x" else LETTERS.get(code, code)

    return ESCAPE.sub(byte, line)


def escaped(data):
    """As Rust's `escape_ascii` writes them."""
    letters = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}
    return "".join(
        letters.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in data
    )


def lines(file):
    return pathlib.Path(file).read_bytes().splitlines() if pathlib.Path(file).exists() else []


def put(folder, data):
    (pathlib.Path(folder) / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def main(command, file, folder):
    match command:
        case "unpack":
            for line in lines(file):
                put(folder, unescaped(line))
        case "lines":
            for line in lines(file):
                if line and not line.startswith(b"##"):
                    put(folder, line)
        case "add":
            known = {unescaped(line) for line in lines(file)}
            found = {path.read_bytes() for path in pathlib.Path(folder).iterdir()} - known
            found = sorted((data for data in found if len(data) <= LONGEST), key=lambda data: (len(data), data))
            room = max(MOST_INPUTS - len(known), 0)
            text = sorted(escaped(data) for data in known.union(found[:room]))
            pathlib.Path(file).write_text("".join(f"{line}\n" for line in text))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
