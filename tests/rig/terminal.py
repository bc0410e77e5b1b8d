"""terminal.py COMMAND…: runs a command on a terminal of its own and does what the steps say (a list in JSON, on stdin).

  {"wait": TEXT}       until the command has printed this since the last step
  {"send": TEXT}       types it
  {"signal": NUMBER}   sends a signal to the command
  {"modes": NAME}      notes the terminal's modes under this name; with "echo", once it is that

Prints {"output", "exit": the code or minus the signal, "modes": {NAME: {"echo", "canonical"}, "end": …}, "cursor": shown?}.
"""

import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time

LIMIT = time.monotonic() + 60
steps = json.load(sys.stdin)
outer, inner = pty.openpty()
fcntl.ioctl(inner, termios.TIOCSWINSZ, b"\x18\x00\x78\x00\x00\x00\x00\x00")


def own():
    os.setsid()
    fcntl.ioctl(inner, termios.TIOCSCTTY, 0)


child = subprocess.Popen(sys.argv[1:], stdin=inner, stdout=inner, stderr=inner, preexec_fn=own)
output, seen, modes = b"", 0, {}


def note():
    local = termios.tcgetattr(inner)[3]
    return {"echo": bool(local & termios.ECHO), "canonical": bool(local & termios.ICANON)}


def read(timeout):
    global output
    if not select.select([outer], [], [], timeout)[0]:
        return False
    output += os.read(outer, 65536)
    return True


def until(met, what):
    while not met():
        if time.monotonic() > LIMIT:
            child.kill()
            sys.exit(f"{what} did not happen; it printed: {output.decode(errors='replace')}")
        read(0.05)


for step in steps:
    if "wait" in step:
        text = step["wait"].encode()
        until(lambda: text in output[seen:] or child.poll() is not None, repr(step["wait"]))
        seen = len(output)
    elif "send" in step:
        os.write(outer, step["send"].encode())
    elif "signal" in step:
        child.send_signal(step["signal"])
    elif "modes" in step:
        # A program changes the modes after it has printed its prompt.
        wanted = step.get("echo")
        until(lambda: wanted is None or note()["echo"] == wanted or child.poll() is not None, "the mode")
        modes[step["modes"]] = note()
until(lambda: child.poll() is not None, "the end")
while read(0):
    pass
modes["end"] = note()
cursor = output.rfind(b"\x1b[?25l") <= output.rfind(b"\x1b[?25h")
print(json.dumps({"output": output.decode(errors="replace"), "exit": child.returncode, "modes": modes, "cursor": cursor}))
