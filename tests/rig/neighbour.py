"""Another program that opens authd's database, as a backup script or a curious operator does. Reads one command a line
from standard input, as JSON, and answers each with a line of JSON.

  {"do": "select", "path": P}              opens, counts the tokens, closes
  {"do": "backup", "path": P, "to": Q}     copies P to Q with SQLite's backup, then checks Q
  {"do": "checkpoint", "path": P}          opens, copies the log into the file as far as it may, closes
  {"do": "hold", "path": P}                opens and begins to read, and stays so
  {"do": "release"}                        ends that
"""

import json
import os
import sqlite3
import sys

held = None


def answer(command):
    global held
    path = command.get("path")
    if command["do"] == "select":
        database = sqlite3.connect(path, timeout=10)
        try:
            return {"tokens": database.execute("SELECT count(*) FROM tokens").fetchone()[0]}
        finally:
            database.close()
    if command["do"] == "backup":
        if os.path.exists(command["to"]):
            os.remove(command["to"])
        source, copy = sqlite3.connect(path, timeout=10), sqlite3.connect(command["to"])
        try:
            source.backup(copy)
            return {"check": copy.execute("PRAGMA integrity_check").fetchone()[0]}
        finally:
            copy.close()
            source.close()
    if command["do"] == "checkpoint":
        database = sqlite3.connect(path, timeout=10)
        try:
            return {"busy": database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]}
        finally:
            database.close()
    if command["do"] == "hold":
        held = sqlite3.connect(path, timeout=10, isolation_level=None)
        held.execute("BEGIN")
        return {"tokens": held.execute("SELECT count(*) FROM tokens").fetchone()[0]}
    if command["do"] == "release":
        held.close()
        held = None
        return {}
    raise ValueError(command)


print('{"ready":true}', flush=True)
for line in sys.stdin:
    try:
        print(json.dumps(answer(json.loads(line))), flush=True)
    except Exception as error:  # told to the test, which knows what should have worked
        print(json.dumps({"error": repr(error)}), flush=True)
