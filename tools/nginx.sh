#!/usr/bin/env bash
# Unpack the nginx of other Debian releases with its libraries into .cache/nginx/SUITE, so that tests/e2e can run each of them on this
# machine without a container and without root. It is unpacked again if it is missing, older than a week, of another recipe, or moved.
# Usage: nginx.sh [SUITE...]
set -euo pipefail
cd "$(dirname "$0")/.."
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie)

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

unpack() { # SUITE DIRECTORY
    local proxy options=()
    proxy=$(apt-config dump --format '%v' Acquire::http::Proxy)
    [ -z "$proxy" ] || options+=(--aptopt="Acquire::http::Proxy \"$proxy\"")
    # The script runs no program of the packages. The files belong to the user of the script, so that `make clean` can remove them.
    # A pipe does not work: tar may end before the last byte, and mmdebstrap terminates its whole process group on a failure.
    as_root mmdebstrap --quiet --variant=extract --include=nginx --format=tar \
        --aptopt='Acquire::Check-Valid-Until "false"' "${options[@]}" "$1" - >"$2.tar"
    tar -x -f "$2.tar" -C "$2" --no-same-owner --no-same-permissions --exclude='./dev' --exclude='./var' --exclude='*/share'
    rm "$2.tar"
}

# The binary gets fixed paths of its loader and libraries, so that it uses none of this machine.
bind_libraries() { # DIRECTORY
    local loader libraries
    loader=$(find "$1" -name 'ld-linux*.so.*' -type f -print -quit)
    libraries=$(find "$1" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$1/usr/sbin/nginx"
}

recipe=$({ cat tools/nginx.sh; pwd; } | sha256sum | cut -c1-12)
mkdir -p .cache/nginx
exec 9>.cache/nginx/lock
flock 9
for suite in "${suites[@]}"; do
    directory=$PWD/.cache/nginx/$suite
    made=$directory/.made-$recipe
    if [ -e "$made" ] && [ -z "$(find "$made" -mtime +7)" ]; then
        continue
    fi
    tools/packages.sh mmdebstrap=mmdebstrap patchelf=patchelf
    rm -rf "$directory"
    mkdir -p "$directory"
    unpack "$suite" "$directory"
    bind_libraries "$directory"
    "$directory/usr/sbin/nginx" -v
    touch "$made"
done
