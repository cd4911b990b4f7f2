#!/usr/bin/env bash
# usage: tools/lint.sh [CHECK...]
# Run the static checks, or only those named. A failure does not stop the others; the names of failed checks come last.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export PATH=$root/.venv/bin:$PATH
export ANSIBLE_CONFIG=$root/tools/ansible.cfg ANSIBLE_HOME=$root/.cache/ansible
failed=()
only=" $* "

# Commands of `check` run without errexit, so functions return their failures explicitly.
check() { # NAME COMMAND...
    local name=$1 start=$SECONDS
    shift
    [[ $only == "  " || $only == *" $name "* ]] || return 0
    echo "== $name"
    "$@" || failed+=("$name")
    echo "-- $name: $((SECONDS - start)) s"
}

# Imports and module names resolve to the checkout only in a copy at .../ansible_collections/quietdoor/mtls.
tree=$root/.cache/lint/ansible_collections/quietdoor/mtls
rm -rf "$tree"
tools/copy.sh "$tree"
git -C "$tree" init --quiet
export ANSIBLE_COLLECTIONS_PATH=$root/.cache/lint MYPYPATH=$root/.cache/lint
package=ansible_collections.quietdoor.mtls.plugins

in_tree() { (cd "$tree" && "$@"); }
typed() { (cd "$root/.cache/lint" && mypy --config-file "$root/pyproject.toml" --cache-dir "$root/.mypy_cache" "$@"); }
current_changelog() {
    in_tree antsibull-changelog release --update-existing --reload-plugins || return 1
    cmp CHANGELOG.md "$tree/CHANGELOG.md" || { echo "CHANGELOG.md does not match the fragments and plugins. Run: make changelog"; return 1; }
}

check ruff ruff check .
check ruff-format ruff format --check --quiet --diff .
check mypy-strict typed --strict -p "$package.module_utils"
check mypy typed -p "$package.modules" -p "$package.filter" -p "$package.action" -p "$package.plugin_utils"
check shellcheck shellcheck tools/*.sh tools/door-init .ci/run
check yamllint yamllint --strict .
check ansible-lint in_tree ansible-lint --offline --nocolor -q
check syntax tools/check_syntax.sh
check docs antsibull-docs lint-collection-docs --plugin-docs "$tree"
check changelog-fragments in_tree antsibull-changelog lint
check changelog current_changelog
check language python tools/check_language.py
check specs python tools/check_specs.py
check readmes python tools/role_readme.py --check

[ ${#failed[@]} -eq 0 ] || { echo "Failed: ${failed[*]}"; exit 1; }
