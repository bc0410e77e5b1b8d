//! The verifier of passkeys: Web Authentication, Level 3, §7.1 (registration) and §7.2 (assertion). No I/O, no clock.
//!
//! Invariants: origin and relying party are exactly ours; the challenge is the one that was given out; the person was
//! present and verified; a frame of another origin is refused; a key has one of three algorithms; whoever holds a
//! [`Registered`] or an [`Asserted`] holds what was verified.
//!
//! Attestation is "none": nothing signs the data of a registration, so the statement is not read. A registration says
//! which key is to sign in, and the session that it arrives in says whose key it is.

mod authenticator_data;
mod client_data;
mod key;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::api::passkeys::{MAX_AUTHENTICATOR_DATA, MAX_CLIENT_DATA, MAX_CREDENTIAL_ID};

use self::authenticator_data::AuthenticatorData;
use self::client_data::Ceremony;
pub use self::key::{Algorithm, PublicKey};

/// Bytes of a challenge.
pub const CHALLENGE: usize = 32;

/// What a response has to be signed over.
pub type Challenge = [u8; CHALLENGE];

/// Why a response is refused: for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the client data is not readable")]
    ClientData,
    #[error("the response is that of another ceremony")]
    Ceremony,
    #[error("the response is to another challenge")]
    Challenge,
    #[error("the response was made for another origin")]
    Origin,
    #[error("the response was made in a frame of another origin")]
    CrossOrigin,
    #[error("the authenticator data is not readable")]
    AuthenticatorData,
    #[error("the response was made for another relying party")]
    RelyingParty,
    #[error("the person was not present")]
    UserPresence,
    #[error("the person was not verified")]
    UserVerification,
    #[error("the credential is backed up though it may not be, or may be since it was registered, or no longer")]
    Backup,
    #[error("the credential is another one")]
    Credential,
    #[error("the credential is another person's")]
    User,
    #[error("the public key is of an unknown kind")]
    PublicKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("the counter did not grow: the credential may have been copied")]
    Counter,
}

/// The site that passkeys are made for: its one origin, and the id that is a credential's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelyingParty {
    id: String,
    origin: String,
}

/// What the browser gives after `navigator.credentials.create()`.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// `rawId`
    pub credential_id: &'a [u8],
    /// `response.clientDataJSON`
    pub client_data: &'a [u8],
    /// `response.getAuthenticatorData()`
    pub authenticator_data: &'a [u8],
    /// `response.getPublicKey()`
    pub public_key: &'a [u8],
}

/// What the browser gives after `navigator.credentials.get()`.
#[derive(Clone, Copy, Debug)]
pub struct Assertion<'a> {
    /// `rawId`
    pub credential_id: &'a [u8],
    /// `response.clientDataJSON`
    pub client_data: &'a [u8],
    /// `response.authenticatorData`
    pub authenticator_data: &'a [u8],
    /// `response.signature`
    pub signature: &'a [u8],
    /// `response.userHandle`
    pub user_handle: Option<&'a [u8]>,
}

/// Whether a credential may be copied by its owner's password manager, and whether it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    #[serde(rename = "backup_eligible")]
    pub is_eligible: bool,
    #[serde(rename = "backed_up")]
    pub is_backed_up: bool,
}

/// A credential that a verified registration has made.
#[derive(Debug)]
pub struct Registered {
    key: PublicKey,
    counter: u32,
    backup: Backup,
}

/// A registered credential as it was stored.
#[derive(Debug)]
pub struct Credential<'a> {
    pub id: &'a [u8],
    pub user_handle: &'a [u8],
    pub key: &'a PublicKey,
    pub counter: u32,
    pub is_backup_eligible: bool,
}

/// A verified assertion.
#[derive(Debug)]
pub struct Asserted {
    counter: u32,
    is_backed_up: bool,
}

impl Registered {
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    pub fn counter(&self) -> u32 {
        self.counter
    }

    pub fn backup(&self) -> Backup {
        self.backup
    }
}

impl Asserted {
    pub fn counter(&self) -> u32 {
        self.counter
    }

    pub fn is_backed_up(&self) -> bool {
        self.is_backed_up
    }
}

impl RelyingParty {
    /// The relying party of a public URL; `None` where browsers allow no passkeys: without TLS (but for `localhost`), and
    /// where the host is an address (§5.1.3, step 7).
    pub fn of(public_url: &str) -> Option<Self> {
        let url = shared::url::parse(public_url).ok()?;
        let id = url.host()?.to_ascii_lowercase();
        let is_address = id.starts_with('[') || id.rsplit('.').next()?.bytes().all(|byte| byte.is_ascii_digit());
        let is_allowed = shared::url::is_secure_context(&url) && !is_address;
        is_allowed.then(|| Self { origin: shared::url::origin(&url), id })
    }

    /// The relying party's id: the host.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Verifies a registration (§7.1).
    pub fn verify_registration(&self, challenge: &Challenge, made: &Registration<'_>) -> Result<Registered, Fault> {
        client_data::verify(made.client_data, Ceremony::Create, challenge, &self.origin)?;
        let data = self.read(made.authenticator_data)?;
        let attested = data.attested.ok_or(Fault::AuthenticatorData)?;
        if attested.credential_id != made.credential_id {
            return Err(Fault::Credential);
        }
        // The key of the authenticator data has one spelling. That of the browser has to be the same: a browser that
        // reads another key than the authenticator has made is noticed now, not at the first sign-in.
        let key = PublicKey::from_cose(attested.key)?;
        if key.spki() != made.public_key {
            return Err(Fault::PublicKey);
        }
        Ok(Registered { key, counter: data.counter, backup: data.backup })
    }

    /// Verifies an assertion (§7.2) by the credential that it names.
    pub fn verify_assertion(
        &self,
        challenge: &Challenge,
        credential: &Credential<'_>,
        assertion: &Assertion<'_>,
    ) -> Result<Asserted, Fault> {
        if assertion.credential_id != credential.id {
            return Err(Fault::Credential);
        }
        if assertion.user_handle.is_some_and(|handle| handle != credential.user_handle) {
            return Err(Fault::User);
        }
        client_data::verify(assertion.client_data, Ceremony::Get, challenge, &self.origin)?;
        let data = self.read(assertion.authenticator_data)?;
        if data.attested.is_some() {
            return Err(Fault::AuthenticatorData);
        }
        if data.backup.is_eligible != credential.is_backup_eligible {
            return Err(Fault::Backup);
        }
        let mut message = assertion.authenticator_data.to_vec();
        message.extend(Sha256::digest(assertion.client_data));
        credential.key.verify(&message, assertion.signature)?;
        if !has_grown(credential.counter, data.counter) {
            return Err(Fault::Counter);
        }
        Ok(Asserted { counter: data.counter, is_backed_up: data.backup.is_backed_up })
    }

    /// Reads authenticator data, and judges what both ceremonies require of it.
    fn read<'a>(&self, bytes: &'a [u8]) -> Result<AuthenticatorData<'a>, Fault> {
        let data = AuthenticatorData::parse(bytes).ok_or(Fault::AuthenticatorData)?;
        if data.rp_id_hash != Sha256::digest(self.id.as_bytes()).as_slice() {
            return Err(Fault::RelyingParty);
        }
        if !data.is_user_present {
            return Err(Fault::UserPresence);
        }
        if !data.is_user_verified {
            return Err(Fault::UserVerification);
        }
        if data.backup.is_backed_up && !data.backup.is_eligible {
            return Err(Fault::Backup);
        }
        Ok(data)
    }
}

/// Whether a signature counter is later than the stored one (§7.2, step 22). An authenticator without a counter always
/// sends 0.
pub fn has_grown(stored: u32, counter: u32) -> bool {
    counter > stored || (counter == 0 && stored == 0)
}
