#!/usr/bin/env bash
# elsewhere.sh DIR PORT… -- URL [option…]: a browser on another machine. Run inside a new network namespace; the ports
# are those of the outer loopback that can be reached from here (forward.mjs), everything else on 127.0.0.1 is this
# machine's own, where nobody listens.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
shift
ports=()
while [ "$1" != -- ]; do ports+=("$1"); shift; done
shift
ip link set lo up
coproc FORWARD { exec node --no-warnings "$here/forward.mjs" in "$dir" "${ports[@]}"; }
read -r -t 30 _ <&"${FORWARD[0]}"
status=0
node --no-warnings "$here/browser.mjs" "$@" || status=$?
kill "$FORWARD_PID"
exit $status
