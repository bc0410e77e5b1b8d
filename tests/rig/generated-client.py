"""Talks to authd through the client that openapi-python-client made of its /openapi.json, and prints what it got.

python generated-client.py FOLDER URL TOKEN
"""

import io
import json
import sys

sys.path.insert(0, sys.argv[1])
import httpx  # noqa: E402
from authd_client import AuthenticatedClient, Client  # noqa: E402
from authd_client.api.cli_login import cli_login_status  # noqa: E402
from authd_client.api.files import files_download, files_list, files_upload  # noqa: E402
from authd_client.api.introspection import introspection_introspect  # noqa: E402
from authd_client.api.sessions import sessions_login  # noqa: E402
from authd_client.api.tokens import tokens_create, tokens_list, tokens_show, tokens_validate  # noqa: E402
from authd_client.api.users import users_create  # noqa: E402
from authd_client.models import (  # noqa: E402
    Code,
    FilesUploadBody,
    IntrospectionIntrospectBody,
    Problem,
    SessionsLoginBody,
    TokensCreateBody,
    TokensValidateBody,
    UsersCreateBody,
)
from authd_client.types import File  # noqa: E402

admin = AuthenticatedClient(base_url=sys.argv[2], token=sys.argv[3])
anybody = Client(base_url=sys.argv[2])
got = {}

body = TokensCreateBody(name="ci", scopes=["read"], ttl_days=30)
made = tokens_create.sync(client=admin, body=body)
got["scopes"] = made.scopes
got["expires_at"] = made.expires_at.year > 2000
got["listed"] = [token.name for token in tokens_list.sync(client=admin, limit=5).tokens]
checked = tokens_validate.sync(client=anybody, body=TokensValidateBody(token=made.token, required_scopes=["write"]))
got["fault"] = checked.error.value
form = IntrospectionIntrospectBody(token=made.token)
got["active"] = introspection_introspect.sync(client=admin, body=form).active

# Errors of several kinds are objects with a code.
refused = {
    "taken": tokens_create.sync(client=admin, body=body),
    "invalid": tokens_create.sync(client=admin, body=TokensCreateBody(name=" ", scopes=[])),
    "unknown": tokens_show.sync(id="nobody", client=admin),
    "nobody": tokens_list.sync(client=anybody),
    "login": sessions_login.sync(client=anybody, body=SessionsLoginBody(username="nobody", password="no such")),
}
got["refused"] = {name: problem.error.value for name, problem in refused.items()}
for code in Code:
    text = {"type": "t", "title": "t", "status": 400, "detail": "d", "error": code.value}
    assert Problem.from_dict(text).error is code

# Files of a person, whatever they contain.
users_create.sync(client=admin, body=UsersCreateBody(username="ada", password="correct horse battery"))
login = sessions_login.sync(client=anybody, body=SessionsLoginBody(username="ada", password="correct horse battery"))
ada = AuthenticatedClient(base_url=sys.argv[2], token=login.token)
content = b"%PDF-1.7\n" + bytes(range(256))
both = [File(payload=io.BytesIO(bytes), file_name=name) for name, bytes in [("a.pdf", content), ("b.exe", b"MZ\0")]]
stored = files_upload.sync(client=ada, body=FilesUploadBody(files=both))
downloaded = files_download.sync(client=ada, key=stored[0].key, range_="bytes=0-7").payload.read()
none = files_upload.sync(client=admin, body=FilesUploadBody(files=both))
got["files"] = {
    "uploaded": [file.successful for file in stored],
    "whole": files_download.sync(client=ada, key=stored[0].key).payload.read() == content,
    "part": downloaded.decode(),
    "listed": [file.file_name for file in files_list.sync(client=ada).files],
    "of nobody": none.error.value,
}

# Each status of a login is read as what it is.
got["logins"] = {}
keys = {"access_key_id": "A", "secret_access_key": "s", "session_token": "t", "expires_at": 1, "refresh_token": "r"}
for status in ["PENDING", "EXPIRED", "DENIED", "AUTHORIZED"]:
    answer = {"status": status} | (keys if status == "AUTHORIZED" else {})
    scripted = httpx.MockTransport(lambda request, answer=answer: httpx.Response(200, json=answer))
    client = Client(base_url="http://authd.test").set_httpx_client(httpx.Client(base_url="http://authd.test", transport=scripted))
    got["logins"][status] = cli_login_status.sync(client=client, state="s").to_dict()["status"]
print(json.dumps(got))
