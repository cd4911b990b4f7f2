#!/usr/bin/env bash
# Copy the tracked and untracked files of the checkout, without ignored files, into another directory.
set -euo pipefail
mkdir -p "$1"
target=$(realpath "$1")
cd "$(dirname "$0")/.."
[ "$target" != "$PWD" ] || { echo "$target is the checkout itself" >&2; exit 1; }
git -c safe.directory="$PWD" ls-files -zco --exclude-standard |
    while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
    tar --create --null --files-from=- --file=- | tar --extract --directory="$target"
