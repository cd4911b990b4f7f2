#!/usr/bin/env bash
# Installs the distribution packages whose commands (or files) are missing, and nothing else.
# Usage: packages.sh WHAT=PACKAGE...   WHAT is a command, an absolute path, or `venv` for python3's own venv and ensurepip.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

present() {
    case $1 in
        venv) "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null ;;
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# A package must not start its service: what runs on this machine is its owner's business.
# policy-rc.d is Debian's way to say so; one that is there already is left alone.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d
    # One at a time: a second one would find apt's own locks taken, or the policy gone when the first one ends.
    mkdir -p /run/lock
    exec 8>/run/lock/quietdoor-mtls-packages
    flock 8
    if [ ! -e "$policy" ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 0755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq 8>&-
    apt-get install -qq -y --no-install-recommends "$@" </dev/null >/dev/null 8>&-
    # ... nor at the next boot.
    if [[ " $* " == *" nginx "* ]] && command -v systemctl >/dev/null; then
        systemctl --quiet disable nginx.service
    fi
}

if [ "${1:-}" = --install ]; then
    shift
    install_quietly "$@"
    exit
fi

missing=()
for pair in "$@"; do
    present "${pair%%=*}" || missing+=("${pair#*=}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "Installing what is missing: ${missing[*]}" >&2
if ! command -v apt-get >/dev/null; then
    echo "This is not a Debian system (no apt-get). Install these yourself, then try again: ${missing[*]}" >&2
    exit 1
elif [ "$(id -u)" -eq 0 ]; then
    exec "$0" --install "${missing[@]}"
elif command -v sudo >/dev/null; then
    sudo "$0" --install "${missing[@]}" && exit 0
    echo "sudo did not do it." >&2
else
    echo "Neither root nor sudo." >&2
fi
echo "Ask somebody who is root to run: apt-get install --no-install-recommends ${missing[*]}" >&2
exit 1
