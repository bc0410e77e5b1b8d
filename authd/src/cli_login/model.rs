//! Types and pure rules of the CLI login: logins and their secrets.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::api::cli_login::{CHALLENGE, MAX_LABEL, NOT_IN_LABEL, StartLogin};
use shared::id::{SessionId, UserId};
use shared::patterns;
use shared::release;
use shared::secret::Secret;
use subtle::ConstantTimeEq;

use crate::env::{Env, Millis};
use crate::error::{Error, Result};
use crate::oidc_client::{Identity, ProviderTokens};

/// A pending login. Sealed in every store.
#[derive(Debug, Serialize, Deserialize)]
pub struct Login {
    pub provider: String,
    /// The role that was asked for.
    pub role: Option<String>,
    /// authd's PKCE verifier for the provider (RFC 7636); the device never gets it.
    pub verifier: Secret,
    pub nonce: Secret,
    /// SHA-256 of the poll secret in base64url; absent in an unbound login.
    pub poll_challenge: Option<String>,
    pub loopback_port: Option<u16>,
    /// Whether the person is asked anew who they are.
    #[serde(default)]
    pub reauthenticate: bool,
    pub device: Device,
    pub started_at: Millis,
    pub ends_at: Millis,
    /// How often the provider failed before it accepted the code.
    pub failures: u32,
    pub phase: Phase,
}

/// The device's description of itself, and its address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub name: Option<String>,
    pub os: Option<String>,
    pub client_version: Option<String>,
    pub address: Option<IpAddr>,
}

/// The phase of a login.
#[derive(Debug, Serialize, Deserialize)]
pub enum Phase {
    Waiting,
    SignedIn(Box<SignedIn>),
    Denied,
    /// It cannot succeed: the code was used without success, or there were too many wrong releases.
    Ended,
}

/// A person has signed in; the device has not yet proved that it started the login.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignedIn {
    pub identity: Identity,
    #[serde(flatten)]
    pub proof: Proof,
    /// SHA-256 of the release; absent in an unbound login.
    pub release: Option<[u8; 32]>,
    /// The id of the session that this login creates, chosen now so that it creates at most one.
    pub session: SessionId,
}

/// What has proved the identity.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Proof {
    /// An OpenID provider.
    Tokens(ProviderTokens),
    /// The person's session of this browser, with authd itself.
    Local { user: UserId, browser: SessionId, password_changed_at: Millis },
}

impl Proof {
    pub fn tokens(&self) -> Option<&ProviderTokens> {
        match self {
            Self::Tokens(tokens) => Some(tokens),
            Self::Local { .. } => None,
        }
    }

    /// The user whose session a device becomes.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Tokens(_) => None,
            Self::Local { user, .. } => Some(*user),
        }
    }
}

impl SignedIn {
    /// Whether it is the release of this login; spaces, hyphens and case do not matter.
    pub fn is_release(&self, given: &Secret) -> bool {
        self.release.is_some_and(|release| release_hash(given).as_slice().ct_eq(&release).into())
    }
}

impl Device {
    /// Parses a device's description of itself: short, and without characters that could mislead a reader of the page.
    pub fn parse(start: &StartLogin, address: Option<IpAddr>) -> Result<Self> {
        Ok(Self {
            name: label("device_name", start.device_name.as_deref())?,
            os: label("os", start.os.as_deref())?,
            client_version: label("cli_version", start.cli_version.as_deref())?,
            address,
        })
    }
}

fn label(field: &str, text: Option<&str>) -> Result<Option<String>> {
    let text = text.unwrap_or_default();
    if text.chars().count() > MAX_LABEL || patterns::any_of(NOT_IN_LABEL, text) {
        return Err(Error::field(field, format!("at most {MAX_LABEL} printable characters")));
    }
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// 32 unpredictable bytes as text: a state, a nonce or a verifier.
pub fn token(env: &Env) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(env.bytes::<32>())
}

/// Whether the text may be a state or a challenge at all: 32 bytes in unpadded base64url.
pub fn is_token(text: &str) -> bool {
    text.len() == CHALLENGE && BASE64_URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

/// base64url(SHA-256(text)), unpadded: a poll challenge, and PKCE's S256.
pub fn challenge(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}

/// The key of a login in the store. The state itself is not stored.
pub fn key(state: &str) -> String {
    format!("login:{}", hex::encode(Sha256::digest(state)))
}

/// Whether the secret is the one that the login was started with.
pub fn is_poll_secret(login: &Login, secret: &Secret) -> bool {
    let expected = login.poll_challenge.as_deref().unwrap_or_default();
    challenge(secret.expose()).as_bytes().ct_eq(expected.as_bytes()).into()
}

/// A release that a browser brings: 160 bits.
pub fn release(env: &Env) -> Secret {
    Secret::new(release::symbols(env.bytes::<32>(), 4))
}

/// A release that a person carries: short, and with a checksum.
pub fn carried_release(env: &Env) -> Secret {
    Secret::new(release::release(env.bytes()))
}

/// The hash by which a release is compared, however it was typed.
pub fn release_hash(release: &Secret) -> [u8; 32] {
    // The input is cut to more than the length of any release.
    let cut: String = release.expose().chars().take(128).collect();
    Sha256::digest(release::read(&cut)).into()
}

/// The code of a short address: 40 bits.
pub fn short_code(env: &Env) -> String {
    release::symbols(env.bytes::<8>(), 4)
}

/// The key of a short address in the store; `None` if it cannot be one.
pub fn short_key(code: &str) -> Option<String> {
    // Longer than any code with its hyphen.
    let code = Some(code).filter(|code| code.len() <= 16).map(release::read)?;
    (code.len() == 8).then(|| format!("login.short:{}", hex::encode(Sha256::digest(code))))
}

/// The content of a verified refresh token: the session and the generation of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented {
    pub session: SessionId,
    pub generation: u32,
}

/// The meaning of a presented generation, given the last acknowledged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshTokenUse {
    /// The newest token, used for the first time: its predecessor becomes invalid.
    First,
    /// The newest acknowledged token again: the answer was lost.
    Again,
    /// A replaced token: two parties have this session's tokens.
    Reused,
    /// A token that was never issued, according to this database.
    Unknown,
}

impl RefreshTokenUse {
    pub fn of(presented: u32, acknowledged: i64) -> Self {
        let presented = i64::from(presented);
        match presented - acknowledged {
            1 => Self::First,
            0 if presented > 0 => Self::Again,
            ..=0 => Self::Reused,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_tell_a_lost_answer_from_a_stolen_token() {
        assert_eq!(RefreshTokenUse::of(1, 0), RefreshTokenUse::First);
        assert_eq!(RefreshTokenUse::of(7, 6), RefreshTokenUse::First);
        assert_eq!(RefreshTokenUse::of(6, 6), RefreshTokenUse::Again);
        assert_eq!(RefreshTokenUse::of(5, 6), RefreshTokenUse::Reused);
        assert_eq!(RefreshTokenUse::of(8, 6), RefreshTokenUse::Unknown);
        assert_eq!(RefreshTokenUse::of(0, 0), RefreshTokenUse::Reused);
    }

    #[test]
    fn a_release_reads_the_same_however_it_is_typed() {
        let (env, _) = Env::fixed(0);
        let release = release(&env);
        assert_eq!(release.expose().len(), 39);
        let typed = release.expose().to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        assert_eq!(release_hash(&release), release_hash(&Secret::new(format!(" {typed}\n"))));
        assert_ne!(release_hash(&release), release_hash(&Secret::new("")));
    }

    #[test]
    fn labels_are_short_and_visible() {
        let parse = |name: &str| {
            let start = StartLogin { device_name: Some(name.to_owned()), ..StartLogin::default() };
            Device::parse(&start, None).map(|device| device.name)
        };
        assert_eq!(parse(" laptop ").unwrap().as_deref(), Some("laptop"));
        assert_eq!(parse("  ").unwrap(), None);
        for name in ["a\u{202e}b", "a\nb", "a\u{200b}b", &"x".repeat(129)] {
            assert!(parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn states_and_challenges_have_one_shape() {
        let (env, _) = Env::fixed(0);
        let state = token(&env);
        assert!(is_token(&state) && is_token(&challenge("x")));
        assert!(!is_token("") && !is_token(&format!("{state}A")) && !is_token(&state.replace(&state[..1], "+")));
        assert_eq!(key("s").len(), 70);
    }
}
