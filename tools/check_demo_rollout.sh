#!/usr/bin/env bash
# Test `make demo-rollout` in a separate directory by the records of its clients, then interrupt a second run. No process and no open
# port may be left of either run.
set -euo pipefail
cd "$(dirname "$0")/.."
walk="$PWD/.cache/a path/walk"
make=(make --no-print-directory "DEMO_ROLLOUT_PATH=$walk")

fail() { echo "$*" >&2; exit 1; }
# Print every process with a path of the demo as an argument, and every open port of the demo.
left() { .venv/bin/python - "$walk" <<'PYTHON'; }
import json, os, socket, sys
from pathlib import Path
top = sys.argv[1]
for entry in Path("/proc").iterdir():
    if entry.name.isdecimal() and int(entry.name) != os.getpid():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        # The condition excludes the make and the shell of this script.
        if any(word.startswith(top + "/") for word in words):
            print(entry.name, *words)
for port in json.loads(Path(top, "run/ports.json").read_text()):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            print("port", port)
PYTHON

mkdir -p "$(dirname "$walk")"
for memory in "$walk"/run/*.memory; do
    [ ! -e "$memory" ] || .venv/bin/python playbooks/files/demo_process.py stop "$memory"
done
rm -rf "$walk"
start=$SECONDS
"${make[@]}" demo-rollout 2>&1 | tee "$walk.log"
echo "-- $((SECONDS - start)) s"
[ -z "$(left)" ] || fail "left over: $(left)"
.venv/bin/python - "$walk/run/records.jsonl" "$walk.log" <<'PYTHON'
import collections, json, re, sys
from datetime import datetime
records = [json.loads(line) for line in open(sys.argv[1]).read().splitlines(keepends=True) if line.endswith("\n")]
told = open(sys.argv[2]).read()
held = [one for one in records if one["client"] in ("alex", "bea")]
assert len(held) > 200, len(held)
refused = [one for one in held if one["status"] != 200]
assert not refused, refused
verdicts = collections.defaultdict(set)
for one in records:
    verdicts[one["client"]].add(one["verdict"])
assert verdicts["alex"] - {""} == verdicts["bea"] - {""} == {"cert"}, verdicts
assert verdicts["dana"] - {""} == {"would-deny", "fallback", "deny"}, verdicts
assert verdicts["stranger"] - {""} == {"would-deny", "deny"}, verdicts
deadline = datetime.fromisoformat(re.search(r"the window is to close at (\S+),", told)[1]).timestamp()
dana = [one for one in records if one["client"] == "dana"]
through = [one for one in dana if one["verdict"] == "fallback"]
out = [one for one in dana if one["status"] != 200]
assert len(through) > 20, len(through)
assert max(one["at"] for one in through) <= deadline + 0.5
assert min(one["answered"] for one in out) >= deadline
# After the rollback to stage observe every client is admitted.
assert all(one["status"] == 200 for one in records[-8:]), records[-8:]
assert "Refused wrongly: 0 of " in told
assert "All as it should be." in told
PYTHON

"${make[@]}" demo-rollout >"$walk.broken-off.log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true' EXIT
until grep -q "observe: " "$walk.broken-off.log"; do
    kill -0 "$pid" 2>/dev/null || { cat "$walk.broken-off.log"; fail "the second walk failed"; }
    sleep 1
done
sleep 3
kill "$pid"
! wait "$pid" || fail "the second walk was not broken off"
[ -z "$(left)" ] || fail "left over after it was broken off: $(left)"
