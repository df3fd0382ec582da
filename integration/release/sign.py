"""Signs in the formats of cosign, with openssl or with cosign itself, and without any server.

    sign.py blob FILE...                   FILE.sig (`cosign sign-blob`) and FILE.sigstore.json (the newer bundle)
    sign.py image LAYOUT OUTPUT NAME       OUTPUT, an OCI layout with the signature of LAYOUT's image, which goes into
                                           the registry beside the image, under the tag that is printed. NAME is
                                           where the image will be, such as registry.example.com/scopegate.
    sign.py public OUTPUT                  the public key

SCOPEGATE_SIGNING_KEY, or else COSIGN_KEY, names the file of a private key on the curve P-256, as PEM; COSIGN_PASSWORD is
its password. A key of `openssl` is used by openssl. One that `cosign generate-key-pair` has made is in a form of its own,
which cosign alone reads: it is used by the program in COSIGN, or on the path.
"""

import base64
import hashlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
COSIGNS_OWN = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")


def loaded(file):
    """The writer of images, a script beside this folder."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


images = loaded(pathlib.Path(__file__).resolve().parents[1] / "tools" / "image.py")


def run(*command, given=None):
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False)
    except FileNotFoundError:
        sys.exit(f"error: no {command[0]}: install it to sign")
    if done.returncode:
        sys.exit(f"error: {command[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


class Key:
    def __init__(self):
        self.file = os.environ.get("SCOPEGATE_SIGNING_KEY") or os.environ.get("COSIGN_KEY")
        if not self.file:
            sys.exit("error: SCOPEGATE_SIGNING_KEY names the file of the key to sign with, and is not set")
        # What is missing must not be asked for: nobody may be there to answer.
        os.environ.setdefault("COSIGN_PASSWORD", "")
        try:
            content = pathlib.Path(self.file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            sys.exit(f"error: {self.file}: {error}")
        self.cosign = any(name in content for name in COSIGNS_OWN) and (os.environ.get("COSIGN") or "cosign")
        if not self.cosign and "prime256v1" not in self.openssl("pkey", "-noout", "-text", "-in").decode():
            sys.exit(f"error: {self.file} is no key on the curve P-256, which cosign's are")

    def openssl(self, command, *arguments):
        return run("openssl", command, "-passin", "env:COSIGN_PASSWORD", *arguments, self.file)

    def public(self):
        if self.cosign:
            return run(self.cosign, "public-key", "--key", self.file)
        return self.openssl("pkey", "-pubout", "-in")

    def signature(self, content):
        """ECDSA over SHA-256, in DER, as base64."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            if self.cosign:
                return run(*self.by_cosign(file.name)).decode().strip()
            command = ["openssl", "dgst", "-sha256", "-passin", "env:COSIGN_PASSWORD", "-sign", self.file, file.name]
            return base64.b64encode(run(*command)).decode()

    def by_cosign(self, file):
        # The newer form alone is what version 3 writes by itself, and it would ask a transparency log.
        quiet = ["--yes", "--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false"]
        return [self.cosign, "sign-blob", *quiet, "--key", self.file, file]


def bundle(content, signature, public):
    """The same signature in the form of sigstore's bundles, with the key's hash as a hint."""
    key = base64.b64decode("".join(line for line in public.decode().splitlines() if "-" not in line))
    encoded = lambda digest: base64.b64encode(digest).decode()
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": encoded(hashlib.sha256(key).digest())}, "tlogEntries": []},
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": encoded(hashlib.sha256(content).digest())},
            "signature": signature,
        },
    }


def sign_blob(*files):
    key = Key()
    for file in files:
        content = pathlib.Path(file).read_bytes()
        signature = key.signature(content)
        pathlib.Path(file + ".sig").write_text(signature + "\n")
        document = bundle(content, signature, key.public())
        pathlib.Path(file + ".sigstore.json").write_bytes(images.text(document))


def payload(digest, name):
    """What cosign signs of an image, which is not its bytes but this statement about its digest."""
    kind = "cosign container image signature"
    critical = {"identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest}, "type": kind}
    return images.text({"critical": critical, "optional": None})


def sign_image(source, output, name):
    key = Key()
    index = json.loads((pathlib.Path(source) / "index.json").read_bytes())
    (image,) = index["manifests"]
    signed = payload(image["digest"], name)
    layout = images.Layout(output)
    config = {
        "architecture": "",
        "config": {},
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [images.digest(signed)]},
    }
    signature = {**layout.put(SIMPLE_SIGNING, signed), "annotations": {SIGNATURE: key.signature(signed)}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{images.OCI}.manifest.v1+json",
        "config": layout.put(f"{images.OCI}.config.v1+json", images.text(config)),
        "layers": [signature],
    }
    tag = image["digest"].replace(":", "-") + ".sig"
    described = layout.put(manifest["mediaType"], images.text(manifest))
    layout.close({**described, "annotations": {"org.opencontainers.image.ref.name": tag}})
    print(tag)


def main(command, *arguments):
    if command == "blob" and arguments:
        sign_blob(*arguments)
    elif command == "image" and len(arguments) == 3:
        sign_image(*arguments)
    elif command == "public" and len(arguments) == 1:
        pathlib.Path(arguments[0]).write_bytes(Key().public())
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*(sys.argv[1:] or [""]))
