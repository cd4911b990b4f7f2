#!/usr/bin/env bash
# Install gixy and sslyze, which check a gate in tests/e2e, into a separate environment.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/judges
if [ ! -e "$venv/.made" ] || [ requirements/judges.txt -nt "$venv/.made" ]; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check -r requirements/judges.txt
    touch "$venv/.made"
fi
