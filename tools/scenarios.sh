#!/usr/bin/env bash
# Run scenarios of molecule, two at a time, because they mostly wait for systemd, apt and ssh.
# A failure does not stop the others. The output of failed scenarios comes last. Logs are in .cache/molecule/SCENARIO.log.
# Usage: scenarios.sh "SCENARIO..." [ARGUMENTS of molecule test...]
set -euo pipefail
cd "$(dirname "$0")/.."
logs=.cache/molecule
read -ra scenarios <<<"$1"
shift
mkdir -p "$logs"
for scenario in "${scenarios[@]}"; do rm -f "$logs/$scenario.log" "$logs/$scenario.log.result"; done

# shellcheck disable=SC2016  # the shell of xargs expands it
printf '%s\0' "${scenarios[@]}" | xargs -0 -P 2 -I '{}' bash -c '
    scenario=$1 log=$2/$1.log start=$SECONDS
    shift 2
    result=passed
    tools/molecule.sh test --scenario-name "$scenario" "$@" >"$log" 2>&1 </dev/null || result=FAILED
    printf "%s\n" "$result, $((SECONDS - start)) s" >"$log.result"
' - '{}' "$logs" "$@"

failed=()
for scenario in "${scenarios[@]}"; do
    if grep -q ^passed "$logs/$scenario.log.result"; then
        cat "$logs/$scenario.log"
    else
        failed+=("$scenario")
    fi
done
for scenario in "${failed[@]}"; do
    cat "$logs/$scenario.log"
done
for scenario in "${scenarios[@]}"; do
    echo "$scenario: $(cat "$logs/$scenario.log.result")"
done
[ ${#failed[@]} -eq 0 ]
