#!/usr/bin/env bash
# Test `make demo` in a separate directory: a first run, a second run without changes, a stop, a run with the same authority,
# and a run with other ports after nginx was killed.
set -euo pipefail
cd "$(dirname "$0")/.."
demo="$PWD/.cache/a path/demo"
make=(make --no-print-directory "DEMO_PATH=$demo")
trap '"${make[@]}" demo-stop >/dev/null' EXIT

listening() { .venv/bin/python -c '
import json, socket, sys
port = json.load(open(sys.argv[1]))["sites"][0]["port"]
with socket.socket() as s:
    sys.exit(s.connect_ex(("127.0.0.1", port)) != 0)' "$demo/demo.json"; }
modes() { .venv/bin/python -c '
import json, sys
print(*(site["mode"] + ":" + ",".join(site["paths"]) for site in json.load(open(sys.argv[1]))["sites"]))' "$demo/demo.json"; }
timed() { local start=$SECONDS; "$@" 2>&1; echo "-- $((SECONDS - start)) s: $*"; }
fail() { echo "$*" >&2; exit 1; }

[ ! -e "$demo/demo.json" ] || "${make[@]}" demo-stop
rm -rf "$demo"
timed "${make[@]}" demo
listening || fail "nothing listens on the demo's port"
[ "$(modes)" = "host: path:/admin/" ] || fail "demo.json does not list both sites"
authority=$(sha256sum "$demo/authority/certs/ca.cert.pem")

timed "${make[@]}" demo | tee "$demo/second.log"
grep -q 'changed=0 ' "$demo/second.log" || fail "no recap with changed=0 in the second run"
! grep -q 'changed=[1-9]' "$demo/second.log" || fail "the second run changed something"

timed "${make[@]}" demo-stop
! listening || fail "demo-stop did not end the demo"

timed "${make[@]}" demo
listening || fail "the demo did not come back"
[ "$authority" = "$(sha256sum "$demo/authority/certs/ca.cert.pem")" ] || fail "the demo came back with another authority"

kill -KILL "$(.venv/bin/python -c 'import json, sys; print(json.load(open(sys.argv[1]))["pid"])' "$demo/run/nginx.json")"
rm "$demo/run/ports.json"
timed "${make[@]}" demo
listening || fail "the demo did not come back after its nginx was killed"
