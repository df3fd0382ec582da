"""Writes images as OCI image layouts, without any engine.

    image.py MODULE OUTPUT [VERSION]                        the module
    image.py --organizations OUTPUT VERSION ARCH=PROGRAM... the command that serves organizations, for each architecture
    image.py --native OUTPUT VERSION ARCH=PROGRAM,MODULE... the native module, with the command that installs it

The image of the module is the one that Istio and Envoy Gateway both fetch: one manifest, one layer, and in it one file,
plugin.wasm. That of the command has one layer with one file too, is run as a user who is not root, and writes nothing.
That of the native module has one layer with two files, and an init container runs the command (`install-module`). For
several architectures, such as amd64 and arm64, an index has one manifest for each. The same files and version give the
same bytes, wherever and whenever they are written. The digest that goes into the manifests of Kubernetes is printed.
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
NATIVE = "libscopegate.so"
# Nobody: no image and no node has an account by that number.
USER = "65532:65532"
OCI = "application/vnd.oci.image"


def layer(*files):
    """A tar with those files, each a name, the file that it is a copy of, and a mode; with nothing of this machine in it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, source, mode in files:
            content = pathlib.Path(source).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
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
    unpacked = layer((MODULE, program, 0o644))
    platform = {"architecture": "wasm", "os": "wasip1"}
    return layout.close(layout.put_manifest(platform, {}, unpacked, annotations("scopegate", version)))


def command(output, named, arguments, layers):
    """The image of a command that is run with those arguments, for each architecture that there is a layer for."""
    layout = Layout(output)
    config = {"User": USER, "Entrypoint": [f"/{PROGRAM}"], "Cmd": arguments}
    described = []
    for architecture, unpacked in layers:
        platform = {"architecture": architecture, "os": "linux"}
        described.append({**layout.put_manifest(platform, config, unpacked, named), "platform": platform})
    return layout.close(described[0] if len(described) == 1 else layout.put_index(described, named))


def organizations(output, version, *programs):
    named = annotations("scopegate serve-organizations", version)
    pairs = (program.split("=", 1) for program in programs)
    layers = [(architecture, layer((PROGRAM, file, 0o755))) for architecture, file in pairs]
    return command(output, named, ["serve-organizations", "--help"], layers)


def native(output, version, *programs):
    layers = []
    for program in programs:
        architecture, files = program.split("=", 1)
        installer, library = files.rsplit(",", 1)
        layers.append((architecture, layer((PROGRAM, installer, 0o755), (NATIVE, library, 0o644))))
    return command(output, annotations("scopegate native", version), ["install-module", "--help"], layers)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--organizations"] and len(sys.argv) > 4:
        print(organizations(*sys.argv[2:]))
    elif sys.argv[1:2] == ["--native"] and len(sys.argv) > 4:
        print(native(*sys.argv[2:]))
    elif len(sys.argv) in (3, 4) and not sys.argv[1].startswith("-"):
        print(module(*sys.argv[1:]))
    else:
        sys.exit(__doc__)
