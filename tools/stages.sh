#!/usr/bin/env bash
# Runs make targets, keeps a log of each, and sums up. A failed one does not stop the others.
# Those before and those after a -- are two lanes that run at the same time: what waits most of its time goes beside what
# computes. Within a lane they run one after the other.
# Usage: stages.sh TARGET... [-- TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
logs=.cache/test-logs
rm -rf "$logs"
mkdir -p "$logs"
first=() second=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    first+=("$1")
    shift
done
[ $# -eq 0 ] || second=("${@:2}")

lane() { # TARGET...
    local stage start result
    for stage in "$@"; do
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
    done
}

echo "Each says so when it ends; until then its log grows in $logs/."

# What every target needs is made first: two lanes would make it at the same time, each under the other's feet. If that fails,
# so does every target, and says why.
make venv install >"$logs/install.log" 2>&1 </dev/null || true

# In a process group of its own, so that it ends with this script, and on Ctrl-C.
set -m
lane "${second[@]}" &
beside=$!
set +m
trap 'kill -- "-$beside" 2>/dev/null || true' EXIT
lane "${first[@]}"
wait "$beside"
trap - EXIT

passed=0 failed=0 summary=
for stage in "${first[@]}" "${second[@]}"; do
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
