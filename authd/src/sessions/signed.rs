//! The signed form of a session token, which clients of `session.Session` and `user.User` send: a JWT (ES256) for authd
//! alone. Its `jti` is the session's id, which is no secret. The session is looked up first, as by an opaque token, and
//! the signature is verified only if the session is live: a caller who knows the id of none costs one look-up.

use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use shared::id::{SessionId, UserId};
use shared::secret::Secret;

use super::store::NewLogin;
use super::{Sessions, lookup, store};
use crate::cache::Hash;
use crate::error::Result;
use crate::keys::{self, Claims, Purpose};

/// The claim `knd`.
const KIND: &str = "Session";

/// A session token as it was presented.
#[derive(Clone, Copy)]
pub(super) enum Presented<'a> {
    Opaque(Hash),
    /// Its signature is not verified yet.
    Signed(SessionId, &'a str),
}

impl<'a> Presented<'a> {
    /// `None` for a text of neither form.
    pub fn new(text: &'a str) -> Option<Self> {
        if lookup::is_opaque(text) {
            return Some(Self::Opaque(lookup::hash(text)));
        }
        if !is_signed(text) {
            return None;
        }
        let payload = BASE64_URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        Some(Self::Signed(SessionId::from_str(&claims.jti).ok()?, text))
    }

    /// What the session is cached by.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Opaque(hash) => *hash,
            Self::Signed(id, _) => hash_of(*id),
        }
    }
}

/// What a session is cached by where its token came signed. It is no token's hash.
pub(super) fn hash_of(id: SessionId) -> Hash {
    Sha256::digest(format!("signed {id}")).into()
}

/// Whether a text has the form of a signed session token.
pub fn is_signed(text: &str) -> bool {
    keys::signing::key_id(Purpose::SignSession, text).is_some()
}

impl Sessions {
    /// The signed token of a new session. It ends with the session's absolute maximum.
    pub fn sign(&self, session: &NewLogin) -> Result<Secret> {
        let (subject, id) = (session.user.to_string(), session.id.to_string());
        let claims = Claims::new(&self.issuer, KIND, subject, id, session.now, session.absolute_expires_at);
        Ok(Secret::new(self.base.keys.sign(Purpose::SignSession, &claims)?))
    }

    /// Whether the token of a live session may be used: an opaque one was found by its hash, a signed one is verified.
    pub(super) async fn verifies(&self, presented: Presented<'_>) -> Result<bool> {
        let Presented::Signed(_, text) = presented else { return Ok(true) };
        Ok(self.claims(text).await?.is_some_and(|claims| claims.hold(&self.issuer, self.base.now())))
    }

    /// The session that a token is to end, and its user, unless it has ended. Whatever the clock and the issuer are: what
    /// is void now may be valid later.
    pub async fn find_to_end(&self, text: &str) -> Result<Option<(SessionId, UserId)>> {
        let db = self.base.db.as_ref();
        match Presented::new(text) {
            None => Ok(None),
            Some(Presented::Opaque(hash)) => store::find_holder(db, &hash).await,
            Some(Presented::Signed(id, text)) => {
                let found = match self.claims(text).await? {
                    Some(_) => store::find_login(db, id).await?,
                    None => None,
                };
                Ok(found.filter(|(_, ended_at)| ended_at.is_none()).map(|(user, _)| (id, user)))
            }
        }
    }

    /// The claims of a signed token, if the signature is right.
    async fn claims(&self, text: &str) -> Result<Option<Claims>> {
        let claims = self.base.keys.verify(Purpose::SignSession, text).await?;
        Ok(claims.filter(|claims| claims.knd == KIND))
    }
}
