#!/usr/bin/env bash
# Build the images of the systemd containers, localhost/door-SUITE, from packages of Debian without a registry.
# An image is built if it is missing, older than a week, or of another recipe, and not if MOLECULE_DOOR_<SUITE>_IMAGE names another one.
# The archives are stored in ${XDG_CACHE_HOME:-~/.cache}/quietdoor-mtls.
# Usage: images.sh [SUITE...]
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/quietdoor-mtls
packages=systemd,systemd-sysv,dbus,python3,python3-apt,ca-certificates,iproute2,openssl,openssh-server,cron
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie)

# Root is required: in other modes of mmdebstrap the archive has no device nodes, and podman would run without root.
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

make_archive() { # SUITE FILE
    local proxy options=()
    proxy=$(apt-config dump --format '%v' Acquire::http::Proxy)
    [ -z "$proxy" ] || options+=(--aptopt="Acquire::http::Proxy \"$proxy\"")
    # The image keeps the package lists, which cache_valid_time of a role needs, and contains no host keys.
    # shellcheck disable=SC2016  # the hook expands $1 to the directory of the new system
    as_root mmdebstrap --quiet --variant=minbase --include="$packages" \
        --aptopt='Acquire::Check-Valid-Until "false"' "${options[@]}" --skip=cleanup/apt/lists \
        --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*' \
        --customize-hook='for u in systemd-modules-load systemd-udevd; do ln -sf /dev/null "$1/etc/systemd/system/$u.service"; done' \
        --customize-hook='copy-in door-init /usr/local/sbin' \
        "$1" - >"$2"
}

recipe=$(cat images.sh door-init | sha256sum | cut -c1-12)
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
for suite in "${suites[@]}"; do
    named=MOLECULE_DOOR_${suite^^}_IMAGE
    [ -z "${!named:-}" ] || continue
    ./packages.sh podman=podman runc=runc /usr/lib/podman/netavark=netavark /usr/lib/podman/aardvark-dns=aardvark-dns \
        iptables=iptables mmdebstrap=mmdebstrap ssh=openssh-client

    archive=$cache/$suite-$recipe.tar
    if [ ! -e "$archive" ] || [ -n "$(find "$archive" -mtime +7)" ]; then
        echo "Making $suite ..."
        rm -f "$cache/$suite"-*.tar
        make_archive "$suite" "$archive.new"
        mv "$archive.new" "$archive"
    fi
    # The tag identifies the archive, so that an image of another archive is not used.
    tag=localhost/door-$suite:$recipe-$(stat -c %Y "$archive")
    if ! ./podman.sh image exists "$tag"; then
        # Older images are removed unless a container uses one.
        for old in $(./podman.sh images --format '{{.Repository}}:{{.Tag}}' "localhost/door-$suite"); do
            ./podman.sh rmi "$old" >/dev/null 2>&1 || echo "Image $old is in use and was not removed." >&2
        done
        ./podman.sh import --quiet -c 'CMD ["/usr/local/sbin/door-init"]' -c 'STOPSIGNAL SIGRTMIN+3' "$archive" "$tag" >/dev/null
    fi
    ./podman.sh tag "$tag" "localhost/door-$suite:latest"
done
