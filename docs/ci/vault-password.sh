#!/bin/sh
# ci/vault-password.sh: prints the password of vault id "web", a secret of the CI system, for ansible-vault.
printf '%s\n' "${QUIETDOOR_WEB_VAULT_PASSWORD:?is not set}"
