#!/usr/bin/env bash
# Run molecule with the environment of this checkout. It writes only to .cache/molecule/SCENARIO, so that scenarios can run at
# the same time.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH:/usr/sbin:/sbin
scenario=default previous=
for argument in "$@"; do
    case $previous in -s | --scenario-name) scenario=$argument ;; esac
    case $argument in --scenario-name=*) scenario=${argument#*=} ;; esac
    previous=$argument
done
export MOLECULE_EPHEMERAL_DIRECTORY=$PWD/.cache/molecule/$scenario
# molecule reads the configuration of Ansible before molecule.yml.
export ANSIBLE_CONFIG=$PWD/tools/ansible.cfg ANSIBLE_HOME=$PWD/.cache/ansible ANSIBLE_COLLECTIONS_PATH=$PWD/.venv/collections
[ -t 1 ] || export NO_COLOR=1 ANSIBLE_NOCOLOR=1 COLUMNS=160
mkdir -p "$MOLECULE_EPHEMERAL_DIRECTORY"
exec molecule "$@"
