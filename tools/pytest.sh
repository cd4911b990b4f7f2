#!/usr/bin/env bash
# Runs pytest on the given tests against the *installed* collection, never the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/.venv/collections PYTHONDONTWRITEBYTECODE=1
# One worker more than there are processors: tests wait for nginx, for deadlines and for processes that they started.
# Each begins with a stretch of neighbouring tests, so that what a file sets up is set up once, and takes from others in the end.
exec .venv/bin/python -m pytest -n $(($(nproc) + 1)) --dist worksteal "$@"
