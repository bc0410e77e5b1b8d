"""Talks to authd through the client that grpcio-tools makes of shared/proto, and prints what it got.

python grpc-client.py PROTO FOLDER HOST:PORT TOKEN ADMIN_TOKEN SESSION
"""

import json
import sys
from pathlib import Path

import grpc
from grpc_tools import protoc

proto, folder, target, token, admin, session = sys.argv[1:]
Path(folder).mkdir()
# The package `grpc` of the health service would hide grpcio's own, so that its file stands alone.
common = ["protoc", f"--python_out={folder}", f"--grpc_python_out={folder}"]
well_known = str(Path(protoc.__file__).parent / "_proto")
for root, files in [
    (proto, ["authd/v1/authd.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"]),
    (f"{proto}/grpc/health/v1", ["health.proto"]),
]:
    assert protoc.main([*common, f"-I{root}", f"-I{well_known}", *files]) == 0
sys.path.insert(0, folder)
import google  # noqa: E402

google.__path__.append(f"{folder}/google")
import health_pb2  # noqa: E402
import health_pb2_grpc  # noqa: E402
from authd.v1 import authd_pb2 as pb  # noqa: E402
from authd.v1 import authd_pb2_grpc  # noqa: E402
from google.rpc import error_details_pb2, status_pb2  # noqa: E402

channel = grpc.insecure_channel(target, options=[("grpc.max_send_message_length", -1)])
authd = authd_pb2_grpc.AuthdStub(channel)
health = health_pb2_grpc.HealthStub(channel)
got = {}


def status(call, *args, **more):
    """The status that a call ends with, and the reasons and fields of its details."""
    try:
        call(*args, **more)
        return "OK"
    except grpc.RpcError as error:
        details = []
        for name, value in error.trailing_metadata() or ():
            if name == "grpc-status-details-bin":
                for detail in status_pb2.Status.FromString(value).details:
                    for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest):
                        found = kind()
                        if detail.Unpack(found):
                            details.append(getattr(found, "reason", "") or found.field_violations[0].field)
        return [error.code().name, *details]


ask = pb.ValidateRequest(token=token, required_scopes=["read"])
valid = authd.Validate(ask)
got["valid"] = [valid.valid, list(valid.scopes), valid.name, valid.expires_at.ToDatetime().year]
lacking = authd.Validate(pb.ValidateRequest(token=token, required_scopes=["write"]))
got["lacking"] = [lacking.valid, lacking.error, lacking.HasField("token_id")]
got["many"] = sum(call.result().valid for call in [authd.Validate.future(ask) for _ in range(500)])
introspected = authd.Introspect(pb.IntrospectRequest(token=token), metadata=[("authorization", f"Bearer {admin}")])
got["introspected"] = [introspected.active, introspected.scope]
checked = authd.CheckToken(pb.CheckTokenRequest(), metadata=[("token", session)])
got["checked"] = [checked.valid, checked.payload.username]
got["health"] = health_pb2.HealthCheckResponse.ServingStatus.Name(
    health.Check(health_pb2.HealthCheckRequest(service="authd.v1.Authd")).status
)

question = pb.CheckPermissionRequest(person_id="alice", service_id="shop", permission_name="x")
big = pb.ValidateRequest(token="x" * (10 << 20))
got["refused"] = {
    "nobody": status(authd.CheckPermission, question),
    "not allowed": status(authd.CheckPermission, question, metadata=[("authorization", f"Bearer {token}")]),
    "field": status(authd.Validate, pb.ValidateRequest(token="x", client_ip="here")),
    "compressed": status(authd.Validate, ask, compression=grpc.Compression.Gzip),
    "large": status(authd.Validate, big),
    "late": status(authd.Validate, ask, timeout=-1),
    "unknown": status(health.Check, health_pb2.HealthCheckRequest(service="nothing")),
    "stream": status(lambda: list(health.Watch(health_pb2.HealthCheckRequest()))),
    "not served": status(channel.unary_unary("/session.SessionService/Login"), b""),
}
# Metadata beyond the bound of a head ends the call, and the channel goes on.
metadata = [("x-long", "x" * (10 << 20))]
got["metadata"] = status(authd.Validate, ask, metadata=metadata)[0] != "OK"
cancelled = authd.Validate.future(ask)
cancelled.cancel()
got["after"] = authd.Validate(ask, timeout=60).valid
print(json.dumps(got))
