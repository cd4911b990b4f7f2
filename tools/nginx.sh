#!/usr/bin/env bash
# Unpack the nginx of other Debian releases with its libraries into .cache/nginx/SUITE, so that tests/e2e can run each of them on this
# machine without a container and without root. It is unpacked again if it is missing, of another week or recipe, or moved.
# Usage: nginx.sh [SUITE...]
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/unpack.sh
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bullseye bookworm trixie sid)

mkdir -p .cache/nginx
exec 9>.cache/nginx/lock
flock 9
for suite in "${suites[@]}"; do
    directory=$PWD/.cache/nginx/$suite
    made=$(stamp "$directory" tools/nginx.sh)
    [ ! -e "$made" ] || continue
    tools/packages.sh mmdebstrap=mmdebstrap patchelf=patchelf
    unpack "$suite" nginx "$directory"
    bind_libraries "$directory" "$directory/usr/sbin/nginx"
    "$directory/usr/sbin/nginx" -v
    touch "$made"
done
