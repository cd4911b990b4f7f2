#!/usr/bin/env bash
# Print the path of the Python of a Debian release, which is unpacked into .cache/python/SUITE: 3.13 of trixie, 3.14 of sid. So a newer
# ansible-core can be tested than this machine's own Python allows. It has no pip.
# Usage: python.sh SUITE
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/unpack.sh
suite=$1
directory=$PWD/.cache/python/$suite
python=$directory/usr/bin/python3

mkdir -p .cache/python
exec 9>.cache/python/lock
flock 9
made=$(stamp "$directory" tools/python.sh)
if [ ! -e "$made" ]; then
    tools/packages.sh mmdebstrap=mmdebstrap patchelf=patchelf >&2
    unpack "$suite" python3 "$directory"
    bind_libraries "$directory" "$(readlink -f "$python")"
    "$python" -c 'import ssl, sqlite3, lzma, ctypes' >&2
    touch "$made"
fi
printf '%s\n' "$python"
