//! The signed form of a session token, which clients of `session.Session` and `user.User` send: a JWT (ES256) for authd
//! alone. Its `jti` is the session token itself, so that both are one session: the signature is verified, and then the
//! `jti` is looked up like any session token. Who has the signing key, and no token, can make none.

use std::borrow::Cow;

use shared::secret::Secret;

use super::Sessions;
use super::lookup::is_opaque;
use super::store::NewLogin;
use crate::error::Result;
use crate::keys::{self, Claims, Purpose};

/// The claim `knd`.
const KIND: &str = "Session";

impl Sessions {
    /// The signed form of the token of a new session. It ends with the session's absolute maximum.
    pub fn sign(&self, session: &NewLogin, token: &Secret) -> Result<Secret> {
        let (subject, id) = (session.user.to_string(), token.expose().to_owned());
        let claims = Claims::new(&self.issuer, KIND, subject, id, session.now, session.absolute_expires_at);
        Ok(Secret::new(self.base.keys.sign(Purpose::SignSession, &claims)?))
    }

    /// The session token that a text is, or is the signed form of.
    pub(super) async fn opaque<'a>(&self, text: &'a str) -> Result<Option<Cow<'a, str>>> {
        if is_opaque(text) {
            return Ok(Some(Cow::Borrowed(text)));
        }
        if !is_signed(text) {
            return Ok(None);
        }
        let claims = self.base.keys.verify(Purpose::SignSession, text).await?;
        let claims = claims.filter(|claims| claims.knd == KIND && claims.hold(&self.issuer, self.base.now()));
        Ok(claims.map(|claims| claims.jti).filter(|id| is_opaque(id)).map(Cow::Owned))
    }
}

/// Whether a text has the form of a signed token.
pub fn is_signed(text: &str) -> bool {
    text.starts_with("eyJ") && keys::signing::key_id(text).is_some()
}
