#!/usr/bin/env bash
# Pin the newest versions of the packages in requirements/*.in, for Python 3.11 and later.
set -euo pipefail
cd "$(dirname "$0")/../requirements"
"${PYTHON:-python3}" -m venv --clear ../.cache/uv
../.cache/uv/bin/python -m pip install -qq uv
for which in runtime dev bench judges; do
    ../.cache/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
        --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' "$which.in" -o "$which.txt"
done
