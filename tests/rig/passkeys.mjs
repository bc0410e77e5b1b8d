// Judges assertions of passkeys, one in JSON a line, by @simplewebauthn/server. Prints a verdict a line: true or false,
// and why.
import { createInterface } from "node:readline";
import { verifyAuthenticationResponse } from "@simplewebauthn/server";

for await (const line of createInterface({ input: process.stdin })) {
  const made = JSON.parse(line);
  let verdict = { verified: false };
  try {
    const { verified } = await verifyAuthenticationResponse({
      response: {
        id: made.credential_id,
        rawId: made.credential_id,
        type: "public-key",
        clientExtensionResults: {},
        response: {
          clientDataJSON: made.client_data,
          authenticatorData: made.authenticator_data,
          signature: made.signature,
          userHandle: made.user_handle,
        },
      },
      expectedChallenge: made.challenge,
      expectedOrigin: made.origin,
      expectedRPID: made.rp_id,
      credential: {
        id: made.credential_id,
        publicKey: Buffer.from(made.public_key, "base64url"),
        counter: made.counter,
      },
      requireUserVerification: true,
    });
    verdict = { verified, reason: "the signature" };
  } catch (error) {
    verdict.reason = String(error.message);
  }
  console.log(JSON.stringify(verdict));
}
