"""A single sign-on client that knows no .proto of authd: it has its own, and walks through the life of an account.

python sso-client.py FOLDER HOST:PORT MAILS

MAILS is the folder of smtp-sink.py. Prints what each step got: "OK", or the message of the status.
"""

import base64
import json
import subprocess
import sys
import time
from pathlib import Path

import grpc
from grpc_tools import protoc

folder, target, mails = sys.argv[1:]
PROTO = {
    "session": """
        service Session {
          rpc Login(LoginRequest) returns (google.protobuf.Empty);
          rpc Logout(google.protobuf.Empty) returns (google.protobuf.Empty);
        }
        message LoginRequest { string ident = 1; string pwd = 2; string totp = 3; }""",
    "user": """
        service User {
          rpc Signup(SignupRequest) returns (google.protobuf.Empty);
          rpc Reset(ResetRequest) returns (google.protobuf.Empty);
          rpc Delete(DeleteRequest) returns (google.protobuf.Empty);
          rpc Totp(TotpRequest) returns (google.protobuf.Empty);
        }
        message SignupRequest { string email = 1; string pwd = 2; }
        message ResetRequest { string email = 1; string pwd = 2; string totp = 3; }
        message DeleteRequest { string pwd = 1; string totp = 2; }
        enum Actions { ENABLE = 0; DISABLE = 1; }
        message TotpRequest { Actions action = 1; string pwd = 2; string totp = 3; }""",
}
Path(folder).mkdir()
for name, text in PROTO.items():
    head = f'syntax = "proto3"; package {name}; import "google/protobuf/empty.proto";'
    Path(folder, f"{name}.proto").write_text(head + text)
well_known = str(Path(protoc.__file__).parent / "_proto")
options = [f"--python_out={folder}", f"--grpc_python_out={folder}", f"-I{folder}", f"-I{well_known}"]
assert protoc.main(["protoc", *options, "session.proto", "user.proto"]) == 0
sys.path.insert(0, folder)
import session_pb2  # noqa: E402
import session_pb2_grpc  # noqa: E402
import user_pb2 as pb  # noqa: E402
import user_pb2_grpc  # noqa: E402
from google.protobuf.empty_pb2 import Empty  # noqa: E402

channel = grpc.insecure_channel(target)
session = session_pb2_grpc.SessionStub(channel)
user = user_pb2_grpc.UserStub(channel)
steps = []


def b64(text, encode=base64.standard_b64encode):
    return encode(text.encode()).decode()


def step(name, call, message, token=None):
    """Calls, notes how it ended, and returns the answer's metadata."""
    metadata = [("authorization", token)] if token is not None else []
    try:
        _, ended = call.with_call(message, metadata=metadata, timeout=60)
    except grpc.RpcError as error:
        steps.append([name, error.details()])
        return {}
    steps.append([name, "OK"])
    return dict(ended.initial_metadata())


def mailed(kind):
    """The claims' kind says which mail has this token; it is a word of its own in the text."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for path in sorted(Path(mails).glob("*.json")):
            for word in json.loads(path.read_text())["text"].split():
                if len(word) > 200 and "#" not in word and claims(word)["knd"] == kind:
                    return word
        time.sleep(0.05)
    raise SystemExit(f"no mail with a token of kind {kind}")


def decoded(text):
    return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))


def claims(token):
    return json.loads(decoded(decoded(token).decode().split(".")[1]))


def totp(secret):
    command = ["oathtool", "--totp", "--base32", secret]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


ADA, OLD, NEW = "ada@example.com", "correct horse battery staple", "another horse battery staple"
sign_up = pb.SignupRequest(email=ADA, pwd=b64(OLD))
step("sign up", user.Signup, sign_up)
token = mailed("Verification")
other = pb.SignupRequest(email="eve@example.com", pwd=b64(OLD))
step("verify another address", user.Signup, other, token)
step("verify with a weak password", user.Signup, pb.SignupRequest(email=ADA, pwd=b64("password1")), token)
step("reset with a token to verify", user.Reset, pb.ResetRequest(email=ADA, pwd=b64(NEW)), token)
first = step("verify", user.Signup, sign_up, token)["authorization"]
step("verify again", user.Signup, sign_up, token)
step("sign up again", user.Signup, sign_up)

secret = step("totp", user.Totp, pb.TotpRequest(pwd=b64(OLD)), first)["x-totp-secret"]
step("confirm with a wrong code", user.Totp, pb.TotpRequest(pwd=b64(OLD), totp="000000"), first)
on = step("confirm", user.Totp, pb.TotpRequest(pwd=b64(OLD), totp=totp(secret)), first)
recovery = on["x-totp-recovery-codes"].split()


def login(name, password, totp=""):
    return step(name, session.Login, session_pb2.LoginRequest(ident=ADA, pwd=b64(password), totp=totp))


login("login without a code", OLD)
login("login with a wrong code", OLD, "000000")
login("login with a wrong password", "wrong", recovery[0])
second = login("login", OLD, recovery[0])["authorization"]
got = claims(second)
kind = {"kind": got["knd"], "claims": sorted(got), "life": got["exp"] - got["iat"]}
step("logout", session.Logout, Empty(), second)
step("logout again", session.Logout, Empty(), second)

step("reset", user.Reset, pb.ResetRequest(email=ADA))
token = mailed("Reset")
step("reset without a code", user.Reset, pb.ResetRequest(email=ADA, pwd=b64(NEW)), token)
step("reset to the same password", user.Reset, pb.ResetRequest(email=ADA, pwd=b64(OLD), totp=recovery[1]), token)
step("reset confirmed", user.Reset, pb.ResetRequest(email=ADA, pwd=b64(NEW), totp=recovery[1]), token)
step("the session is over", session.Logout, Empty(), first)
third = login("login after the reset", NEW, recovery[2])["authorization"]
urlsafe = b64(base64.standard_b64decode(third).decode(), base64.urlsafe_b64encode).rstrip("=")
step("totp off", user.Totp, pb.TotpRequest(action=pb.DISABLE, pwd=b64(NEW), totp=recovery[3]), urlsafe)
step("totp off again", user.Totp, pb.TotpRequest(action=pb.DISABLE, pwd=b64(NEW)), urlsafe)
step("delete without a token", user.Delete, pb.DeleteRequest(pwd=b64(NEW)))
step("delete with a wrong password", user.Delete, pb.DeleteRequest(pwd=b64(OLD)), urlsafe)
step("delete", user.Delete, pb.DeleteRequest(pwd=b64(NEW)), urlsafe)
login("login after the end", NEW)
print(json.dumps({"steps": steps, "session": kind}))
