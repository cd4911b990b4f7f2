#!/usr/bin/env bash
# usage: tools/venv.sh runtime|dev
# Install what requirements/WHICH.txt pins into .venv. `runtime` creates .venv anew.
# Markers in these files select the pins: ansible-core 2.19 for Python 3.11, the newest for Python 3.12 and later.
set -euo pipefail
cd "$(dirname "$0")/.."
which=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'; then
    echo "$python: the pinned ansible-core needs Python 3.11 to 3.14, not $("$python" --version 2>&1). Run: make PYTHON=/path/to/python3.11" >&2
    exit 1
fi
if [ "$which" = runtime ]; then
    PYTHON=$python tools/packages.sh venv=python3-venv
    rm -rf .venv
    "$python" -m venv .venv
fi
.venv/bin/python -m pip install -qq --disable-pip-version-check -r "requirements/$which.txt"
touch ".venv/.$which"
