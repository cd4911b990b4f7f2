#!/usr/bin/env bash
# Run the benchmark. community.crypto is part of the PyPI package ansible (290 MB), which gets a separate environment.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/.venv/collections PYTHONDONTWRITEBYTECODE=1
venv=.cache/bench/venv
if [ ! -e "$venv/.made" ] || [ requirements/bench.txt -nt "$venv/.made" ]; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check -r requirements/bench.txt
    touch "$venv/.made"
fi
exec .venv/bin/python tests/bench/bench.py "$@"
