#!/usr/bin/env bash
# Run ansible-playbook --syntax-check for every playbook with every example inventory.
set -euo pipefail
cd "$(dirname "$0")/.."
for inventory in playbooks/inventories/*/; do
    for playbook in playbooks/*.yml; do
        ansible-playbook --syntax-check -i "$inventory" "quietdoor.mtls.$(basename "$playbook" .yml)"
    done
done
