"""Writes images as OCI image layouts, without any engine.

    image.py MODULE OUTPUT [VERSION]                        the module
    image.py --organizations OUTPUT VERSION ARCH=PROGRAM... the command that serves organizations, for each architecture

The image of the module is the one that Istio and Envoy Gateway both fetch: one manifest, one layer, and in it one file,
plugin.wasm. That of the command has one layer with one file too, is run as a user who is not root, and writes nothing.
For several architectures, such as amd64 and arm64, an index has one manifest for each. The same files and version give
the same bytes, wherever and whenever they are written. The digest that goes into the manifests of Kubernetes is printed.
"""

import gzip
import hashlib
import io
import json
import pathlib
import shutil
import sys
import tarfile

MODULE = "plugin.wasm"
PROGRAM = "scopegate"
# Nobody: no image and no node has an account by that number.
USER = "65532:65532"
OCI = "application/vnd.oci.image"


def layer(name, content, mode):
    """A tar with that one file, with nothing of this machine in it."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(entry, io.BytesIO(content))
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


def annotations(title, version):
    return {
        "org.opencontainers.image.title": title,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }


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

    def put_manifest(self, platform, config, unpacked, named):
        """An image with one layer; gives what describes it."""
        config = {
            **platform,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest(unpacked)]},
            "history": [{"created_by": f"scopegate {named['org.opencontainers.image.version']}"}],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": self.put(f"{OCI}.config.v1+json", text(config)),
            "layers": [self.put(f"{OCI}.layer.v1.tar+gzip", compressed(unpacked))],
            "annotations": named,
        }
        return self.put(manifest["mediaType"], text(manifest))

    def put_index(self, described, named):
        index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": described, "annotations": named}
        return self.put(index["mediaType"], text(index))

    def close(self, described):
        """The layout's one image."""
        index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [described]}
        (self.folder / "index.json").write_bytes(text(index))
        return described["digest"]


def module(program, output, version="0.0.0"):
    layout = Layout(output)
    unpacked = layer(MODULE, pathlib.Path(program).read_bytes(), 0o644)
    platform = {"architecture": "wasm", "os": "wasip1"}
    return layout.close(layout.put_manifest(platform, {}, unpacked, annotations("scopegate", version)))


def organizations(output, version, *programs):
    layout = Layout(output)
    named = annotations("scopegate serve-organizations", version)
    config = {"User": USER, "Entrypoint": [f"/{PROGRAM}"], "Cmd": ["serve-organizations", "--help"]}
    described = []
    for program in programs:
        architecture, _, file = program.partition("=")
        platform = {"architecture": architecture, "os": "linux"}
        unpacked = layer(PROGRAM, pathlib.Path(file).read_bytes(), 0o755)
        described.append({**layout.put_manifest(platform, config, unpacked, named), "platform": platform})
    return layout.close(described[0] if len(described) == 1 else layout.put_index(described, named))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--organizations"] and len(sys.argv) > 4:
        print(organizations(*sys.argv[2:]))
    elif len(sys.argv) in (3, 4) and not sys.argv[1].startswith("-"):
        print(module(*sys.argv[1:]))
    else:
        sys.exit(__doc__)
