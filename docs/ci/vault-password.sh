#!/bin/sh
# ci/vault-password.sh: hands ansible-vault the password that the CI system keeps as a secret. It opens what is encrypted with the id "web".
printf '%s\n' "${QUIETDOOR_WEB_VAULT_PASSWORD:?is not set}"
