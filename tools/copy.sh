#!/usr/bin/env bash
# Copies what git knows or would know of the checkout (no ignored file) into a directory.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
git -c safe.directory="$PWD" ls-files -zco --exclude-standard |
    while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
    tar --create --null --files-from=- --file=- | tar --extract --directory="$1"
