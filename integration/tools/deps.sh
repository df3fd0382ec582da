# Shared by the scripts beside it; source it, do not run it.
#
# Everything fetched or built lives outside the checkout, in $SCOPEGATE_CACHE.
# Messages go to stderr: the scripts print a path, and only that, to stdout.

SCOPEGATE_CACHE="${SCOPEGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/scopegate}"
export SCOPEGATE_CACHE
mkdir -p "$SCOPEGATE_CACHE"

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# at_least 1.33 1.40.0: is the second version the first or newer?
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }

# Two that start at once must not fetch into the same folder at once. What takes
# minutes has a lock of its own.
wait_for_cache() {
    if have flock; then
        exec 9>"$SCOPEGATE_CACHE/lock${1:+-$1}"
        flock 9
    fi
}

# cargo_tool NAME VERSION: puts a program from crates.io on PATH, built once, into the cache.
cargo_tool() {
    local name="$1" version="$2" folder="$SCOPEGATE_CACHE/$1-$2"
    (
        wait_for_cache "$name"
        [ ! -x "$folder/bin/$name" ] || exit 0
        say "building $name $version: a few minutes, once"
        CARGO_TARGET_DIR="$folder.target" cargo install --quiet --locked --root "$folder" --version "=$version" "$name" \
            </dev/null >&2 || die "$name $version could not be built: is crates.io within reach?"
        rm -rf "$folder.target"
    ) || exit
    export PATH="$folder/bin:$PATH"
}

# Runs a command as root: directly, or through a sudo that asks nothing.
# Package scripts get no terminal, no stdin and no questions.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@" </dev/null >&2
    elif have sudo && sudo -n true 2>/dev/null; then
        sudo -n env DEBIAN_FRONTEND=noninteractive "$@" </dev/null >&2
    else
        return 1
    fi
}

# A broken third-party source must not keep the good ones from being read.
apt_refresh() { as_root apt-get update -q -o DPkg::Lock::Timeout=300 || true; }

apt_known() { [ -n "$(LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep 'Candidate: [0-9]')" ]; }

# Installs Debian packages that are not there yet; refreshes the lists if the
# first try fails, which is what empty or old lists look like.
apt_install() {
    have apt-get || return 1
    local missing=() package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    local install=(apt-get install -y -q --no-install-recommends
        -o DPkg::Lock::Timeout=300 "${missing[@]}")
    as_root "${install[@]}" || { apt_refresh; as_root "${install[@]}"; }
}

# Unpacks Debian packages into a folder: no root, no system service started.
# deb_unpack FOLDER PACKAGE...
deb_unpack() {
    have apt-get && have dpkg-deb || return 1
    local folder="$1" package part="$1.part"
    shift
    rm -rf "$part"
    mkdir -p "$part/debs"
    for package in "$@"; do
        apt_known "$package" || { apt_refresh; break; }
    done
    say "fetching $*"
    local download=(apt-get download -q -o APT::Sandbox::User=root "$@")
    (cd "$part/debs" && "${download[@]}" </dev/null >&2) ||
        { apt_refresh; (cd "$part/debs" && "${download[@]}" </dev/null >&2); } ||
        { rm -rf "$part"; return 1; }
    local deb
    for deb in "$part"/debs/*.deb; do
        dpkg-deb -x "$deb" "$part" || { rm -rf "$part"; return 1; }
    done
    rm -rf "$part/debs" "$folder"
    mv "$part" "$folder"
}

# python_of NAME REQUIREMENTS: the folder of a Python with the packages of that file, whose hashes are in it; fetched from
# PyPI once, into the cache. Of its bin/ only what is no script of Python can be started, for those hold an old path.
python_of() {
    local name="$1" requirements="$2" key folder
    have python3 || apt_install python3 python3-venv || die "no python3: install it for $name"
    key="$(cat "$requirements" <(python3 --version) | sha256sum | cut -c1-12)"
    folder="$SCOPEGATE_CACHE/stack/$name-$key"
    wait_for_cache "$name"
    if [ ! -d "$folder" ]; then
        say "fetching $name from PyPI"
        rm -rf "$folder.part"
        python3 -m venv "$folder.part" >/dev/null 2>&1 ||
            { apt_install python3-venv && rm -rf "$folder.part" && python3 -m venv "$folder.part" >&2; } ||
            die "python3 has no venv: install it (Debian: python3-venv)"
        PIP_ROOT_USER_ACTION=ignore "$folder.part/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --no-deps --require-hashes --only-binary=:all: -r "$requirements" </dev/null >&2 ||
            die "PyPI gave not all of $requirements for this machine"
        mv "$folder.part" "$folder"
    fi
    printf '%s\n' "$folder"
}
