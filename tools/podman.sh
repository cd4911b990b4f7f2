#!/usr/bin/env bash
# podman for the test containers: as root, and with the project's own configuration unless CONTAINERS_CONF says otherwise.
set -euo pipefail
CONTAINERS_CONF=${CONTAINERS_CONF:-$(dirname "$(realpath "$0")")/containers.conf}
PATH=$PATH:/usr/sbin:/sbin # netavark calls iptables
export CONTAINERS_CONF PATH
if [ "$(id -u)" -eq 0 ]; then
    exec podman "$@"
fi
exec sudo --preserve-env=CONTAINERS_CONF,PATH podman "$@"
