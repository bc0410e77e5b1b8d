"""Reads AWS files as botocore does: a JSON array of {config, credentials} on standard input, and for each what is read.

Each answer is {config, credentials}: the profiles of the config file, and the sections of the credentials file; null
for a file that botocore refuses.
"""

import json
import pathlib
import sys
import tempfile

import botocore.configloader
import botocore.exceptions


def read(load, path, text):
    path.write_bytes((text or "").encode())
    try:
        return load(str(path))
    except botocore.exceptions.ConfigParseError:
        return None


out = []
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "file")
    for case in json.load(sys.stdin):
        config = read(botocore.configloader.load_config, path, case.get("config"))
        credentials = read(botocore.configloader.raw_config_parse, path, case.get("credentials"))
        out.append({"config": config and config["profiles"], "credentials": credentials})
print(json.dumps(out))
