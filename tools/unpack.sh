#!/usr/bin/env bash
# Functions for scripts that run a program of another Debian release on this machine, without a container and without root.
# A script sources this file.

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

# Unpack a package with everything it depends on. No program of the packages runs, and the files belong to the user of the script, so that
# `make clean` can remove them. A pipe does not work: tar may end before the last byte, and mmdebstrap terminates its whole process group on
# a failure.
unpack() { # SUITE PACKAGE DIRECTORY
    local proxy options=()
    proxy=$(apt-config dump --format '%v' Acquire::http::Proxy)
    [ -z "$proxy" ] || options+=(--aptopt="Acquire::http::Proxy \"$proxy\"")
    rm -rf "$3"
    mkdir -p "$3"
    as_root mmdebstrap --quiet --variant=extract --include="$2" --format=tar \
        --aptopt='Acquire::Check-Valid-Until "false"' "${options[@]}" "$1" - >"$3.tar"
    tar -x -f "$3.tar" -C "$3" --no-same-owner --no-same-permissions --exclude='./dev' --exclude='./var' --exclude='*/share'
    rm "$3.tar"
    # Links to files that were left out stop programs that copy the checkout.
    find "$3" -xtype l -delete
}

# Give a program fixed paths of its loader and libraries, so that it uses none of this machine.
bind_libraries() { # DIRECTORY PROGRAM
    local loader libraries
    loader=$(find "$1" -path '*-linux-gnu/ld-linux*.so.*' -print -quit)
    libraries=$(find "$1" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$2"
}

# Print a file name that exists only after this script, at this place, has unpacked the suite; it is new once a week.
stamp() { # DIRECTORY SCRIPT
    printf '%s/.made-%s' "$1" "$({ cat tools/unpack.sh "$2"; pwd; date +%G-%V; } | sha256sum | cut -c1-12)"
}
