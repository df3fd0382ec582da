"""Packs a folder the same way everywhere: archive.py FOLDER OUTPUT [PREFIX]

OUTPUT is a tar, or a gzipped one if its name ends with `gz`. Names are sorted, and nothing of this machine is in it: no
owner, no time, and of the mode no more than whether a file can be run. PREFIX stands in front of every name.
"""

import gzip
import io
import pathlib
import sys
import tarfile


def packed(folder, prefix=""):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry = tarfile.TarInfo(prefix + file.relative_to(folder).as_posix())
            entry.size = file.stat().st_size
            entry.mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
            with file.open("rb") as opened:
                archive.addfile(entry, opened)
    return content.getvalue()


def main(folder, output, prefix=""):
    content, output = packed(pathlib.Path(folder), prefix), pathlib.Path(output)
    if output.name.endswith("gz"):
        # Not deflated: each version of zlib does that differently.
        small = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", compresslevel=0, fileobj=small, mtime=0) as archive:
            archive.write(content)
        content = small.getvalue()
    output.write_bytes(content)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
