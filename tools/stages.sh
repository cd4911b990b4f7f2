#!/usr/bin/env bash
# Runs make targets one after the other, keeps a log of each, and sums up. A failed one does not stop the others.
set -euo pipefail
cd "$(dirname "$0")/.."
logs=.cache/test-logs
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0 summary=

for stage in "$@"; do
    printf '%-18s ' "$stage"
    start=$SECONDS
    if make "$stage" >"$logs/$stage.log" 2>&1 </dev/null; then
        result=passed passed=$((passed + 1))
    else
        result=FAILED failed=$((failed + 1))
    fi
    line=$(printf '%-6s %5d s' "$result" $((SECONDS - start)))
    echo "$line"
    [ "$result" = passed ] || { tail -n 60 "$logs/$stage.log" | sed 's/^/    /'; echo "    -> all of it: $logs/$stage.log"; }
    summary+=$(printf '%-18s %s' "$stage" "$line")$'\n'
done

printf '\n%s%-18s        %5d s\n' "$summary" "together" "$SECONDS"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
