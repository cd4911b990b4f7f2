#!/usr/bin/env bash
# Pin the newest versions of what requirements/*.in names, for every Python from 3.11 on. docs/ci/requirements.txt has the
# pins of runtime.in with their hashes.
set -euo pipefail
cd "$(dirname "$0")/../requirements"
"${PYTHON:-python3}" -m venv --clear ../.cache/uv
../.cache/uv/bin/python -m pip install -qq uv
pin() { ../.cache/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links "$@"; }
for which in runtime dev bench judges; do
    pin --custom-compile-command 'make lock' "$which.in" -o "$which.txt"
done
ci=../docs/ci/requirements.txt
pin --generate-hashes --no-annotate --no-header runtime.in -o "$ci"
sed -i '1i # What the CI jobs install, each file by its hash: pip install --require-hashes -r ci/requirements.txt\
# Written by: make lock' "$ci"
