#!/usr/bin/env bash
# Run podman for the test containers as root, with the configuration of the project unless CONTAINERS_CONF is set.
set -euo pipefail
CONTAINERS_CONF=${CONTAINERS_CONF:-$(dirname "$(realpath "$0")")/containers.conf}
PATH=$PATH:/usr/sbin:/sbin # netavark calls iptables
export CONTAINERS_CONF PATH
if [ "$(id -u)" -eq 0 ]; then
    exec podman "$@"
fi
exec sudo --preserve-env=CONTAINERS_CONF,PATH podman "$@"
