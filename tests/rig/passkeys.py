"""Judges assertions of passkeys, one in JSON a line, by fido2. Prints a verdict a line: true or false, and why."""

import json
import sys

from fido2 import cbor
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.utils import websafe_decode
from fido2.webauthn import AttestedCredentialData, PublicKeyCredentialRpEntity

for line in sys.stdin:
    made = json.loads(line)
    try:
        party = PublicKeyCredentialRpEntity(name="authd", id=made["rp_id"])
        server = Fido2Server(party, verify_origin=lambda origin: origin == made["origin"])
        key = CoseKey.parse(cbor.decode(websafe_decode(made["public_key"])))
        credential = AttestedCredentialData.create(bytes(16), websafe_decode(made["credential_id"]), key)
        response = {
            "id": made["credential_id"],
            "rawId": made["credential_id"],
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": made["client_data"],
                "authenticatorData": made["authenticator_data"],
                "signature": made["signature"],
                "userHandle": made["user_handle"],
            },
        }
        state = {"challenge": made["challenge"], "user_verification": "required"}
        server.authenticate_complete(state, [credential], response)
        verdict = {"verified": True}
    except Exception as error:
        verdict = {"verified": False, "reason": f"{type(error).__name__}: {error}"}
    print(json.dumps(verdict))
