"""Puts the page, its script and the module into one file: build.py MODULE OUTPUT

The file needs no other file, and its policy forbids the page every connection. It lets nothing run but the script with
exactly this content, and WebAssembly.
"""

import base64
import gzip
import hashlib
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).parent / "page"


def read(name):
    return (PAGE / name).read_text(encoding="utf-8")


def fingerprint(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def script():
    """Both modules as one script, without the import and the exports that join them."""
    module = re.sub(r"^export ", "", read("module.mjs"), flags=re.MULTILINE)
    page = read("page.mjs")
    joined, count = re.subn(r'^import \{([^}]*)\} from "\./module\.mjs";$', "", page, flags=re.MULTILINE)
    if count != 1 or re.search(r"^import ", joined, flags=re.MULTILINE):
        sys.exit("page.mjs does not import module.mjs alone")
    renamed = [name.split(" as ") for name in re.search(r"^import \{([^}]*)\}", page, flags=re.MULTILINE)[1].split(",")]
    aliases = [f"const {pair[1].strip()} = {pair[0].strip()};" for pair in renamed if len(pair) == 2]
    # Each module gets a scope of its own, so that their names cannot clash.
    names = [pair[0].strip() for pair in renamed]
    whole = f"const {{ {', '.join(names)} }} = (() => {{\n{module}\nreturn {{ {', '.join(names)} }};\n}})();\n"
    return whole + "{\n" + "\n".join(aliases) + joined + "\n}\n"


def main(module, output):
    packed = base64.b64encode(gzip.compress(pathlib.Path(module).read_bytes(), 9, mtime=0)).decode()
    style, code = read("style.css"), script()
    if "</" in code or "</" in style or "<!--" in code:
        sys.exit("script or style would end too early")
    policy = (
        f"default-src 'none'; script-src {fingerprint(code)} 'wasm-unsafe-eval'; style-src {fingerprint(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        "style": f"<style>{style}</style>",
        "data": f'<script type="application/octet-stream" id="module">{packed}</script>',
        "script": f'<script type="module">{code}</script>',
    }
    page = re.sub(r"<!-- (policy|style|data|script) -->", lambda match: parts.pop(match[1]), read("index.html"))
    if parts:
        sys.exit(f"index.html lacks {', '.join(parts)}")
    path = pathlib.Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    print(path)


main(*sys.argv[1:])
