"""Holds the lists of what a release is made of to CycloneDX's schema and to Cargo: sbom_check.py CHECKOUT RELEASE

Cargo's own list of crates is asked for the same target and features, so that a crate which is compiled and not listed,
or listed and not compiled, is found. Needs the Python of integration/tools/sbom_reader.sh.
"""

import json
import pathlib
import subprocess
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

DOCUMENTS = {
    "scopegate.wasm": ("wasm32-wasip1", []),
    "scopegate-linux": ("x86_64-unknown-linux-musl", ["--features", "serve"]),
    "libscopegate-linux": ("x86_64-unknown-linux-gnu", ["--features", "native"]),
}


def compiled(checkout, target, features):
    """What Cargo compiles into it, as (name, version)."""
    command = ["cargo", "tree", "--locked", "-p", "scopegate", "-e", "normal,no-proc-macro", "--target", target, *features]
    command += ["--prefix", "none", "--no-dedupe", "--format", "{p}"]
    lines = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True).stdout.splitlines()
    words = [line.split() for line in lines if line]
    return {(word[0], word[1].removeprefix("v")) for word in words} - {("scopegate", words[0][1].removeprefix("v"))}


def check(file, crates):
    text = file.read_text()
    problem = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    if problem:
        yield f"not CycloneDX: {problem}"
    document = json.loads(text)
    listed = {(component["name"], component["version"]): component for component in document["components"]}
    for crate in sorted(crates ^ listed.keys()):
        yield f"{' '.join(crate)} is {'listed' if crate in listed else 'compiled'} alone"
    for crate, component in listed.items():
        for member in ("hashes", "licenses", "purl"):
            if not component.get(member):
                yield f"{' '.join(crate)} has no {member}"
    print(f"{file.name}: {len(listed)} crates")


def main(checkout, release):
    wrong = []
    for name, (target, features) in DOCUMENTS.items():
        file = pathlib.Path(release) / f"{name}.cdx.json"
        wrong += [f"{file.name}: {problem}" for problem in check(file, compiled(checkout, target, features))]
    if wrong:
        sys.exit("\n".join(wrong))


main(*sys.argv[1:])
