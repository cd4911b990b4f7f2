#!/usr/bin/env bash
# Run pytest on the given tests against the *installed* collection, never the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/.venv/collections PYTHONDONTWRITEBYTECODE=1
# There is one worker more than processors, because tests wait for nginx, for deadlines and for processes.
# Each worker begins with neighbouring tests, so that fixtures of a file are set up once, and takes tests of other workers at the end.
exec .venv/bin/python -m pytest -n $(($(nproc) + 1)) --dist worksteal "$@"
