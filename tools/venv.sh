#!/usr/bin/env bash
# Install the pins of requirements/WHICH.txt (runtime or dev) into .venv. It is created again if the runtime pins or Python changed.
set -euo pipefail
cd "$(dirname "$0")/.."
which=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
    echo "ansible-core 2.19 runs on Python 3.11 to 3.13, but $python is $("$python" --version). Try: make PYTHON=/path/to/python3.11" >&2
    exit 1
fi
if [ "$which" = runtime ]; then
    PYTHON=$python tools/packages.sh venv=python3-venv
    rm -rf .venv
    "$python" -m venv .venv
fi
.venv/bin/python -m pip install -qq --disable-pip-version-check -r "requirements/$which.txt"
touch ".venv/.$which"
