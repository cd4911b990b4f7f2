#!/usr/bin/env bash
# Install the distribution packages whose commands or files are missing.
# Usage: packages.sh WHAT=PACKAGE...   WHAT is a command, an absolute path, or `venv` for venv and ensurepip of python3.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

present() {
    case $1 in
        venv) "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null ;;
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# A package must not start its service on the machine of the user.
# On Debian policy-rc.d prevents that. An existing one does not change.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d
    # The lock prevents a second run, which would fail at the locks of apt, or lose the policy when the first run ends.
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
    # The service must not start at the next boot either.
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

echo "Installing missing packages: ${missing[*]}" >&2
if ! command -v apt-get >/dev/null; then
    echo "This is not a Debian system (no apt-get). Install these packages and try again: ${missing[*]}" >&2
    exit 1
elif [ "$(id -u)" -eq 0 ]; then
    exec "$0" --install "${missing[@]}"
elif command -v sudo >/dev/null; then
    sudo "$0" --install "${missing[@]}" && exit 0
    echo "sudo failed." >&2
else
    echo "The user is not root, and sudo is not available." >&2
fi
echo "Run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
exit 1
