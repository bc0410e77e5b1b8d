#!/usr/bin/env bash
# keyring.sh COMMAND…: runs it in a private session bus with an unlocked, headless Secret Service (gnome-keyring).
# Its data is in $HOME, which the caller has made private.
set -euo pipefail
export XDG_RUNTIME_DIR=$HOME/run XDG_DATA_HOME=$HOME/data
mkdir -p -m 700 "$XDG_RUNTIME_DIR" "$XDG_DATA_HOME"
# shellcheck disable=SC2016  # expanded inside the session
exec dbus-run-session -- bash -c 'eval "$(printf rig-pass | gnome-keyring-daemon --unlock --components=secrets 2>/dev/null)"; "$@"' _ "$@"
