#!/usr/bin/env bash
# Run ansible-test on the *archive*, unpacked into a tree below .cache that also contains its home directory.
# Usage: ansible-test.sh sanity|integration [ARGUMENTS...]
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
tree=$root/.cache/ansible-test/ansible_collections/quietdoor/mtls
home=$root/.cache/ansible-test/home
pip_cache=${XDG_CACHE_HOME:-$HOME/.cache}/pip

# ansible-test needs the collection in a separate git work tree. Its own output (tests/output) is kept.
mkdir -p "$tree"
find "$tree" -mindepth 1 -maxdepth 1 ! -name .git ! -name tests -exec rm -rf {} +
find "$tree" -mindepth 2 -maxdepth 2 -path "$tree/tests/*" ! -name output -exec rm -rf {} +
tar --extract --gzip --file build/quietdoor-mtls-*.tar.gz --directory="$tree"
rm -f "$tree/FILES.json" "$tree/MANIFEST.json" # a checkout has galaxy.yml instead
cp galaxy.yml "$tree/"
git -C "$tree" init --quiet
printf '/tests/output/\n' >"$tree/.git/info/exclude"
git -C "$tree" add --all

# ansible-test would download get-pip.py from its own host. This script installs the same pip from the package index of pip.
pip_version=$(.venv/bin/python -c \
    'from ansible_test._internal.python_requirements import get_venv_packages as g; from types import SimpleNamespace as N
print(g(N(version="3.11"))["pip"])')
bootstrap=$home/.ansible/test/cache
get_pip=$bootstrap/get_pip_${pip_version//./_}.py
if [ ! -e "$get_pip" ]; then
    mkdir -p "$bootstrap"
    .venv/bin/python -m pip download -qq --no-deps --dest "$bootstrap" "pip==$pip_version"
    cat >"$get_pip" <<END
import sys
sys.path.insert(0, "$bootstrap/pip-$pip_version-py3-none-any.whl")
from pip._internal.cli.main import main
sys.exit(main(["install"] + [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]))
END
fi
# The separate home directory would hide the pip settings of the user.
if [ -d "$HOME/.config/pip" ]; then
    mkdir -p "$home/.config"
    ln -sfn "$HOME/.config/pip" "$home/.config/pip"
fi

# The shims of pyenv are not interpreters, and ansible-test needs the real ones.
path=
IFS=: read -ra parts <<<"$PATH"
for part in "${parts[@]}"; do
    if [[ $part == */shims ]]; then
        for real in "${part%/shims}"/versions/*/bin; do
            [ ! -d "$real" ] || path+=$real:
        done
    else
        path+=$part:
    fi
done

unset "${!ANSIBLE_@}"
export HOME=$home PIP_CACHE_DIR=$pip_cache PATH=$root/.venv/bin:$path:/usr/sbin:/sbin
cd "$tree"
what=$1
shift
exec ansible-test "$what" --local --color no "$@"
