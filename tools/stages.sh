#!/usr/bin/env bash
# Runs make targets, keeps a log of each, and sums up. A failed one does not stop the others.
# Two lanes run at the same time. Each takes the next target of the list when it has ended one, so the longest come first, and
# one that waits most of its time beside one that computes. Targets that use the same directory are joined by a +: one lane runs
# them one after the other.
# Usage: stages.sh TARGET[+TARGET...]...
set -euo pipefail
cd "$(dirname "$0")/.."
logs=.cache/test-logs
rm -rf "$logs"
mkdir -p "$logs"
groups=("$@")
read -ra stages <<<"${*//+/ }"

next() { # prints the next group; fails if there is none
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
    local stage=$1 start result
    start=$SECONDS
    result=FAILED
    ! make "$stage" >"$logs/$stage.log" 2>&1 </dev/null || result=passed
    printf '%-18s %-6s %5d s\n' "$stage" "$result" $((SECONDS - start)) >"$logs/$stage.result"
    { # In one piece, also if the other lane has something to say at that moment.
        flock 9
        cat "$logs/$stage.result"
        if [ "$result" = FAILED ]; then
            tail -n 60 "$logs/$stage.log" | sed 's/^/    /'
            echo "    -> all of it: $logs/$stage.log"
        fi
    } 9>"$logs/lock"
}

echo "Each says so when it ends; until then its log grows in $logs/."

# What every target needs is made first: two lanes would make it at the same time, each under the other's feet. If that fails,
# so does every target, and says why.
make venv install >"$logs/install.log" 2>&1 </dev/null || true

# In a process group of its own, so that it ends with this script, and on Ctrl-C.
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
    # One that left no result has not passed.
    line=$(cat "$logs/$stage.result" || echo "$stage left no result")
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
