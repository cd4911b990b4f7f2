#!/usr/bin/env bash
# Build the archive of the collection in build/ and install it into .venv/collections.
# Without a changed file in the checkout the script does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
installed=.venv/collections/ansible_collections/quietdoor/mtls

digest=$(git -c safe.directory="$PWD" ls-files -zco --exclude-standard |
    { xargs -0 sha256sum 2>/dev/null || [ $? -eq 123 ]; } | sha256sum) # 123: a tracked file was deleted
if [ -d "$installed" ] && [ "$(cat .venv/.collection 2>/dev/null)" = "$digest" ]; then
    exit 0
fi
rm -rf build "$installed" "$installed"-*.info .venv/.collection
# Ansible must not read or write files outside of the checkout.
export ANSIBLE_CONFIG="$PWD/tools/ansible.cfg" ANSIBLE_HOME="$PWD/.cache/ansible" ANSIBLE_COLLECTIONS_PATH="$PWD/.venv/collections"
.venv/bin/ansible-galaxy collection build --output-path build
.venv/bin/ansible-galaxy collection install --offline --no-deps --force -p .venv/collections build/quietdoor-mtls-*.tar.gz >/dev/null
printf '%s\n' "$digest" >.venv/.collection
