#!/usr/bin/env bash
# Run make targets, write a log of each, and print a summary: wall seconds, and CPU seconds of user and system. The processes in containers
# are not part of the CPU seconds. A failed target does not stop the others.
# Two lanes run at the same time. A lane takes the next target of the list when it has finished one. So the longest targets come first,
# and a target that mostly waits runs at the same time as one that computes. Targets that use the same directory are joined by a +, and
# one lane runs them one after the other.
# Usage: stages.sh TARGET[+TARGET...]...
set -euo pipefail
cd "$(dirname "$0")/.."
logs=.cache/test-logs
rm -rf "$logs"
mkdir -p "$logs"
groups=("$@")
read -ra stages <<<"${*//+/ }"

next() { # print the next group, or fail if no group is left
    local number
    {
        flock 9
        number=$(cat "$logs/next")
        echo $((number + 1)) >"$logs/next"
    } 9>"$logs/next.lock"
    [ "$number" -lt ${#groups[@]} ] && echo "${groups[number]}"
}

lane() {
    local group stage
    while group=$(next); do
        for stage in ${group//+/ }; do
            run "$stage"
        done
    done
}

run() { # TARGET
    local stage=$1 result=FAILED seconds
    local TIMEFORMAT='%0R s, CPU %0U + %0S s'
    seconds=$({ time make "$stage" >"$logs/$stage.log" 2>&1 </dev/null; } 2>&1) && result=passed
    printf '%-18s %-6s %s\n' "$stage" "$result" "$seconds" >"$logs/$stage.result"
    { # The output is written at once, so that it does not mix with that of the other lane.
        flock 9
        cat "$logs/$stage.result"
        if [ "$result" = FAILED ]; then
            tail -n 60 "$logs/$stage.log" | sed 's/^/    /'
            echo "    -> whole log: $logs/$stage.log"
        fi
    } 9>"$logs/lock"
}

echo "Each target is reported when it ends. Until then its log is in $logs/."

# The common requirements are made first, because two lanes would make them at the same time. If that fails, every target fails
# with the reason.
make venv install >"$logs/install.log" 2>&1 </dev/null || true

# A separate process group ends with this script and on Ctrl-C.
set -m
echo 0 >"$logs/next"
lane &
beside=$!
set +m
trap 'kill -- "-$beside" 2>/dev/null || true' EXIT
lane
wait "$beside"
trap - EXIT

passed=0 failed=0 summary=
for stage in "${stages[@]}"; do
    # A target without a result counts as failed.
    line=$(cat "$logs/$stage.result" || echo "$stage has no result")
    if [[ $line == *' passed '* ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
    summary+=$line$'\n'
done
printf '\n%s%-18s        %5d s\n' "$summary" "together" "$SECONDS"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
