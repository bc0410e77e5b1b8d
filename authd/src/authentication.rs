//! Authentication of a token of any kind: an API token, a session token, or `ADMIN_TOKEN`.

use std::net::IpAddr;
use std::sync::Arc;

use shared::api::sessions::SessionKind;
use shared::problem::Code;
use shared::secret::Secret;
use subtle::ConstantTimeEq;

use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::rbac::{self, Rbac};
use crate::sessions::{self, LiveSession, Sessions};
use crate::tokens::Tokens;

/// Turns a presented token into a [`Caller`].
#[derive(Debug)]
pub struct Authentication {
    admin_token: Option<Secret>,
    tokens: Arc<Tokens>,
    sessions: Arc<Sessions>,
    rbac: Arc<Rbac>,
}

impl Authentication {
    pub fn new(
        admin_token: Option<Secret>,
        tokens: Arc<Tokens>,
        sessions: Arc<Sessions>,
        rbac: Arc<Rbac>,
    ) -> Arc<Self> {
        Arc::new(Self { admin_token, tokens, sessions, rbac })
    }

    /// The holder of this token; 401 if it is not valid. With `renews`, a person's session is extended.
    pub async fn authenticate(&self, token: &str, address: Option<IpAddr>, renews: bool) -> Result<Caller> {
        // The time that this takes reveals only the length of the secret.
        let is_admins = |expected: &Secret| -> bool { expected.expose().as_bytes().ct_eq(token.as_bytes()).into() };
        if self.admin_token.as_ref().is_some_and(is_admins) {
            return Ok(Caller::AdminToken);
        }
        if !sessions::is_token(token) {
            let caller = self.tokens.authenticate(token, address).await?;
            if let Caller::Service { service, .. } = &caller {
                self.rbac.own_service(*service).await?;
            }
            return Ok(caller);
        }
        let live = if renews {
            self.sessions.touch(token).await?.map(|(live, _)| live)
        } else {
            self.sessions.find(token).await?
        };
        let live = live.ok_or_else(|| Error::new(Code::InvalidToken, "the session has ended; sign in again"))?;
        self.person(&live).await
    }

    /// The person whose browser has this cookie; `None` if it is not the token of a live session of a browser. Renews the
    /// session.
    pub async fn authenticate_browser(&self, token: &str) -> Result<Option<Caller>> {
        match self.sessions.touch(token).await? {
            Some((live, _)) if live.kind == SessionKind::Web => self.person(&live).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn person(&self, live: &LiveSession) -> Result<Caller> {
        let access = self.rbac.access(live.user_id, rbac::AUTHD).await?;
        let username = live.username.to_string();
        Ok(Caller::User { id: live.user_id, username, session: live.id, permissions: access.authd })
    }
}
