"""A mail server that keeps every mail, parsed, as DIR/NNNN.json. It listens on 127.0.0.1:

SMTP_PORT   STARTTLS is required, then AUTH as authd with the password "mail pw/@"
TLS_PORT    TLS from the start, the same AUTH
PLAIN_PORT  neither

What it does to a mail depends on the recipient: bounce* is refused with 550, later* with 451 the first time, die* gets no
answer after its text the first time, since the connection is closed, slow* is answered after two seconds.

RIG_TLS is a folder of tls.sh. A line of JSON says that it is ready."""

import asyncio
import email
import email.policy
import json
import os
import pathlib
import signal
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
ports = [int(os.environ[name]) for name in ("SMTP_PORT", "TLS_PORT", "PLAIN_PORT")]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(os.environ["RIG_TLS"] + "/srv.pem", os.environ["RIG_TLS"] + "/srv.key")


class Sink:
    # Of all listeners: the recipients that were turned away once, and the number of the last mail.
    seen = set()
    count = len(list(folder.glob("*.json")))

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("bounce"):
            return "550 5.1.1 no such user"
        if address.startswith("later") and address not in Sink.seen:
            Sink.seen.add(address)
            return "451 4.7.1 greylisted, try again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        [to] = envelope.rcpt_tos
        if to.startswith("die") and to not in Sink.seen:
            Sink.seen.add(to)
            server.transport.abort()
            return "421 gone"
        if to.startswith("slow"):
            await asyncio.sleep(2)
        mail = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        body = lambda kind: (part := mail.get_body((kind,))) and part.get_content().replace("\r\n", "\n")
        kept = {
            "from": envelope.mail_from,
            "to": to,
            "tls": server.transport.get_extra_info("ssl_object") is not None,
            "login": (session.auth_data.login.decode() if session.authenticated else None),
            "headers": [[name, str(value)] for name, value in mail.items()],
            "text": body("plain"),
            "html": body("html"),
            "defects": [str(defect) for one in mail.walk() for defect in one.defects],
            "raw": envelope.original_content.decode("utf-8", "replace"),
        }
        Sink.count += 1
        path = folder / f".{Sink.count}"
        path.write_text(json.dumps(kept))
        path.rename(folder / f"{Sink.count:05}.json")
        return "250 2.0.0 kept"


def authenticate(server, session, envelope, mechanism, data):
    is_right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"authd", b"mail pw/@")
    return AuthResult(success=is_right, handled=False, auth_data=data)


common = {"hostname": "127.0.0.1", "server_hostname": "sink.test", "enable_SMTPUTF8": True}
login = {"authenticator": authenticate, "auth_required": True}
Controller(Sink(), port=ports[0], tls_context=tls, require_starttls=True, **login, **common).start()
# What is behind TLS from the start does not know it.
Controller(Sink(), port=ports[1], ssl_context=tls, auth_require_tls=False, **login, **common).start()
Controller(Sink(), port=ports[2], **common).start()
print(json.dumps({"ready": True}).replace(" ", ""), flush=True)
signal.pause()
