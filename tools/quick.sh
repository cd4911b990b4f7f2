#!/usr/bin/env bash
# Run the checks that take a minute: style, types, language, layers, golden files, and the unit tests of changed packages.
set -euo pipefail
cd "$(dirname "$0")/.."

# The script tests the packages that differ from the base branch, or from the last commit without such a branch.
changed_tests() {
    local base path
    base=$(git merge-base HEAD origin/main 2>/dev/null || git rev-parse HEAD)
    { git diff --name-only "$base"; git ls-files --others --exclude-standard; } | while read -r path; do
        case $path in
            plugins/module_utils/*/*.py) path=$(dirname "$path") && path=tests/unit/$path ;;
            plugins/modules/*.py | plugins/filter/*.py | plugins/action/*.py) path=tests/unit/$(dirname "$path") ;;
            tools/check_language.py) path=tests/unit/test_check_language.py ;;
            tests/unit/*/test_*.py | tests/unit/test_*.py) ;;
            *) continue ;;
        esac
        [ ! -e "$path" ] || echo "$path"
    done | sort -u
}

failed=0
tools/lint.sh ruff ruff-format mypy-strict language || failed=1
mapfile -t changed < <(changed_tests)
tools/pytest.sh -q tests/unit/test_layers.py tests/unit/test_golden.py "${changed[@]}" || failed=1
exit $failed
