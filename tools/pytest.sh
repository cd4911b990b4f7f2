#!/usr/bin/env bash
# Runs pytest on the given tests against the *installed* collection, never the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/.venv/collections PYTHONDONTWRITEBYTECODE=1
exec .venv/bin/python -m pytest -n 2 "$@"
