"""Writes an image as an OCI image layout, without any engine: image.py MODULE OUTPUT [VERSION]

The image is the one that Istio and Envoy Gateway both fetch: one manifest, one layer, and in it one file, plugin.wasm.
The same module and version give the same bytes, wherever and whenever it is written. The digest of the manifest, which
is what goes into the manifests of Kubernetes, is printed.
"""

import gzip
import hashlib
import io
import json
import pathlib
import shutil
import sys
import tarfile

NAME = "plugin.wasm"
OCI = "application/vnd.oci.image"


def layer(module):
    """A tar with that one file, with nothing of this machine in it."""
    entry = tarfile.TarInfo(NAME)
    entry.size, entry.mode = len(module), 0o644
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(entry, io.BytesIO(module))
    return packed.getvalue()


def compressed(content):
    # Stored and not deflated differently by each version of zlib: the bytes must not depend on it.
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=0, fileobj=packed, mtime=0) as archive:
        archive.write(content)
    return packed.getvalue()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def text(document):
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


class Layout:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "blobs" / "sha256").mkdir(parents=True)
        (self.folder / "oci-layout").write_bytes(text({"imageLayoutVersion": "1.0.0"}))

    def put(self, kind, content):
        name = digest(content)
        (self.folder / "blobs" / name.replace(":", "/")).write_bytes(content)
        return {"mediaType": kind, "digest": name, "size": len(content)}


def main(module, output, version="0.0.0"):
    layout = Layout(output)
    unpacked = layer(pathlib.Path(module).read_bytes())
    config = {
        "architecture": "wasm",
        "os": "wasip1",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(unpacked)]},
        "history": [{"created_by": f"scopegate {version}"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": layout.put(f"{OCI}.config.v1+json", text(config)),
        "layers": [layout.put(f"{OCI}.layer.v1.tar+gzip", compressed(unpacked))],
        "annotations": {
            "org.opencontainers.image.title": "scopegate",
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    }
    described = layout.put(manifest["mediaType"], text(manifest))
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [described]}
    (layout.folder / "index.json").write_bytes(text(index))
    print(described["digest"])


main(*sys.argv[1:])
