//! Passkeys: registration, sign-in and step-up by what [`crate::webauthn`] verifies.
//!
//! Invariants: a challenge is given out to one session, or one browser before its sign-in, and for one purpose, is taken
//! before anything is verified, and is void after 5 minutes; the counter grows in the batch of what the passkey allows,
//! so that of concurrent uses on any nodes one succeeds; a sign-in or a step-up is a counted attempt; registering and
//! removing take a fresh proof. Registering ends no session, since it takes nothing away; removing ends the others, which
//! the passkey may have begun.

mod ops;
mod reset;
mod sign_in;
pub(super) mod store;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::api::passkeys::{PasskeyAssertion, RequestOptions};
use shared::base64url::Base64Url;
use shared::id::SessionId;
use shared::problem::Code;
use shared::secret::Secret;

use self::store::Stored;
use super::Accounts;
use crate::db::Statement;
use crate::env::{MINUTE, Millis};
use crate::error::{Error, Result};
use crate::setting::Faults;
use crate::webauthn::{Algorithm, Assertion, Challenge, Credential, Fault, PublicKey, RelyingParty};

/// How long a challenge waits for its answer.
const PENDING: Millis = 5 * MINUTE;

/// `[passkeys]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether people sign in by passkeys.
    pub mode: Mode,
}

/// Whether people sign in by passkeys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They may, where the public URL allows it.
    #[default]
    Optional,
    /// Who has one signs in by nothing else, and who has none adds one after the sign-in in a browser.
    Required,
    /// Nobody does.
    Off,
}

impl Config {
    pub fn check(&self, public_url: &str, faults: &mut Faults) {
        faults.require(
            self.mode != Mode::Required || RelyingParty::of(public_url).is_some(),
            "passkeys.mode = \"required\" (AUTHD_PASSKEYS) needs a public URL (AUTHD_PUBLIC_URL) with https and a host \
             name: browsers make no passkeys for others, nor for addresses",
        );
    }
}

/// What the configuration says of passkeys.
#[derive(Debug)]
pub(super) struct Passkeys {
    mode: Mode,
    party: Option<RelyingParty>,
}

impl Passkeys {
    /// The relying party is made of the public URL, never of a request.
    pub fn new(config: &Config, public_url: &str) -> Self {
        Self { mode: config.mode, party: RelyingParty::of(public_url) }
    }

    pub fn is_required(&self) -> bool {
        self.mode == Mode::Required
    }

    fn party(&self) -> Result<&RelyingParty> {
        if self.mode == Mode::Off {
            return Err(Error::new(Code::Conflict, "passkeys are switched off here"));
        }
        self.party.as_ref().ok_or_else(|| {
            let detail = "passkeys need a public URL with https and a host name: ask the people who run this authd";
            Error::new(Code::Conflict, detail)
        })
    }
}

/// What a challenge is given out for, and to whom.
#[derive(Clone, Copy, Debug)]
enum Ceremony<'a> {
    Registration(SessionId),
    Proof(SessionId),
    /// Of the browser with this value, which nobody else knows.
    SignIn(&'a Secret),
}

impl Ceremony<'_> {
    /// The key of the challenge in the ephemeral store: the next challenge replaces it.
    fn key(self) -> String {
        match self {
            Self::Registration(session) => format!("passkeys.registration:{session}"),
            Self::Proof(session) => format!("passkeys.proof:{session}"),
            Self::SignIn(browser) => {
                format!("passkeys.sign_in:{}", hex::encode(Sha256::digest(browser.expose())))
            }
        }
    }
}

/// A timeout for the browser, in milliseconds.
fn timeout() -> u32 {
    u32::try_from(PENDING).unwrap_or(u32::MAX)
}

impl Accounts {
    async fn give_challenge(&self, ceremony: Ceremony<'_>) -> Result<Challenge> {
        let challenge = self.base.env.bytes();
        self.base.ephemeral.put(&ceremony.key(), &challenge, PENDING).await?;
        Ok(challenge)
    }

    /// Takes the challenge: of concurrent answers one gets it, whatever becomes of it.
    async fn take_challenge(&self, ceremony: Ceremony<'_>) -> Result<Challenge> {
        let taken = self.base.ephemeral.take(&ceremony.key()).await?;
        taken.and_then(|challenge| challenge.try_into().ok()).ok_or_else(|| {
            Error::new(Code::Conflict, "no challenge waits for this passkey: begin again, at most 5 minutes before")
        })
    }

    fn request_options(&self, challenge: Challenge, passkeys: &[Stored]) -> Result<RequestOptions> {
        Ok(RequestOptions {
            challenge: Base64Url(challenge.to_vec()),
            timeout: timeout(),
            rp_id: self.passkeys.party()?.id().to_owned(),
            allow_credentials: passkeys.iter().map(Stored::descriptor).collect(),
            user_verification: "required".to_owned(),
        })
    }

    /// Verifies an assertion by the passkey that it names. The statement accepts it, in the batch of what it allows
    /// ([`super::factors::store::SECOND_FACTOR`]).
    fn verify_passkey(
        &self,
        challenge: &Challenge,
        passkey: &Stored,
        assertion: &PasskeyAssertion,
    ) -> Result<Result<Statement, Fault>> {
        let algorithm = Algorithm::of(passkey.attributes.algorithm).ok_or_else(|| unreadable("algorithm"))?;
        let key = PublicKey::from_spki(algorithm, &passkey.attributes.public_key.0);
        let credential = Credential {
            id: &passkey.credential_id,
            user_handle: passkey.user.0.as_bytes(),
            key: &key.map_err(|_| unreadable("public key"))?,
            counter: passkey.counter,
            is_backup_eligible: passkey.attributes.backup.is_eligible,
        };
        let assertion = Assertion {
            credential_id: &assertion.credential_id.0,
            client_data: &assertion.client_data.0,
            authenticator_data: &assertion.authenticator_data.0,
            signature: &assertion.signature.0,
            user_handle: assertion.user_handle.as_ref().map(|handle| handle.0.as_slice()),
        };
        let verified = self.passkeys.party()?.verify_assertion(challenge, &credential, &assertion);
        Ok(verified.map(|asserted| store::accept(passkey, &asserted, self.base.now())))
    }
}

fn unreadable(what: &str) -> Error {
    Error::internal(format!("the {what} of a stored passkey cannot be read"))
}

#[cfg(test)]
pub(crate) mod testing {
    //! Passkeys with known keys, and what their browsers send.

    use serde_json::{Value, json};
    use shared::base64url::Base64Url;
    use shared::id::{FactorId, SessionId, UserId};

    use super::store::{self, Attributes, Stored};
    use super::{Ceremony, PENDING};
    use crate::base::Base;
    use crate::webauthn::testing::{Authenticator, Response};
    use crate::webauthn::{Algorithm, Backup, Challenge, RelyingParty};

    /// A configuration in which there are passkeys.
    pub const CONFIG: &str = "[server]\npublic_url = \"https://auth.example.com\"\n";
    pub const CHALLENGE: Challenge = [7; 32];

    pub fn party() -> RelyingParty {
        RelyingParty::of("https://auth.example.com").unwrap()
    }

    pub fn authenticator(base: &Base, user: UserId) -> Authenticator {
        Authenticator::new(Algorithm::Es256, base.env.uuid().as_bytes(), user.0.as_bytes())
    }

    /// A passkey of a user.
    pub async fn insert(base: &Base, user: UserId) -> (FactorId, Authenticator) {
        let authenticator = authenticator(base, user);
        let passkey = Stored {
            id: FactorId(base.env.uuid()),
            user,
            credential_id: authenticator.credential_id.clone(),
            name: "laptop".to_owned(),
            attributes: Attributes {
                public_key: Base64Url(authenticator.spki()),
                algorithm: Algorithm::Es256.number(),
                transports: vec!["internal".to_owned()],
                backup: Backup { is_eligible: true, is_backed_up: true },
            },
            counter: 0,
            created_at: base.now(),
            last_used_at: None,
        };
        base.db.commit(store::insert(&passkey).into()).await.unwrap();
        (passkey.id, authenticator)
    }

    /// Gives [`CHALLENGE`] to a session, for both purposes.
    pub async fn give_challenges(base: &Base, session: SessionId) {
        for ceremony in [Ceremony::Registration(session), Ceremony::Proof(session)] {
            base.ephemeral.put(&ceremony.key(), &CHALLENGE, PENDING).await.unwrap();
        }
    }

    fn text(bytes: &[u8]) -> Value {
        serde_json::to_value(Base64Url::<4096>(bytes.to_vec())).unwrap()
    }

    /// The fields of `passkeys.register`.
    pub fn registration(made: &Response) -> Value {
        json!({
            "credential_id": text(&made.credential_id),
            "client_data": text(&made.client_data),
            "authenticator_data": text(&made.authenticator_data),
            "public_key": text(&made.public_key),
            "transports": ["internal"],
        })
    }

    /// The fields of `passkeys.prove`.
    pub fn assertion(made: &Response) -> Value {
        json!({
            "credential_id": text(&made.credential_id),
            "client_data": text(&made.client_data),
            "authenticator_data": text(&made.authenticator_data),
            "signature": text(&made.signature),
            "user_handle": made.user_handle.as_deref().map(text),
        })
    }
}
