//! Authorization of requests for a proxy, by the policies of the configuration.
//!
//! Invariants: a client's input never selects or weakens a policy, and requests that cannot be parsed are denied.

pub mod model;
mod policy;

use std::net::IpAddr;
use std::sync::Arc;

use shared::problem::Code;

use self::model::ForwardedRequest;
pub use self::policy::{Policy, Rule, Source, check};
use crate::error::{Error, Result};
use crate::names;
use crate::rbac::Rbac;
use crate::sessions::{self, Sessions};
use crate::tokens::Tokens;
use crate::tokens::model::CachedToken;

/// The policies of forward authentication.
#[derive(Debug)]
pub struct ForwardAuth {
    policies: Vec<Policy>,
    tokens: Arc<Tokens>,
    sessions: Arc<Sessions>,
    rbac: Arc<Rbac>,
}

/// The identity of an allowed request, for the service behind the proxy: visible ASCII and spaces. Fields that do not
/// apply are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The id of the API token, or of the user.
    pub subject: String,
    /// The name of the API token, or of the user; percent-encoded.
    pub name: String,
    /// The scopes of an API token, separated by spaces.
    pub scopes: String,
    /// The roles of a person in the policy's service, percent-encoded, separated by spaces.
    pub roles: String,
    pub permissions: String,
    pub token_id: String,
    pub session_id: String,
}

impl ForwardAuth {
    pub fn new(policies: Vec<Policy>, tokens: Arc<Tokens>, sessions: Arc<Sessions>, rbac: Arc<Rbac>) -> Arc<Self> {
        Arc::new(Self { policies, tokens, sessions, rbac })
    }

    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.name == name)
    }

    /// Decides by the first rule that matches; an unreadable credential is an error only if the rule needs one.
    /// `address` is the client's, if a trusted proxy sent it.
    pub async fn decide(
        &self,
        policy: &Policy,
        request: &ForwardedRequest,
        credential: Result<Option<&str>>,
        address: Option<IpAddr>,
    ) -> Result<Identity> {
        let Some(rule) = policy.rule(request) else {
            return Err(Error::new(Code::Forbidden, "no rule allows this request"));
        };
        if rule.public {
            return Ok(Identity::default());
        }
        match credential? {
            None => {
                let detail = "this needs credentials: Authorization: Bearer <token>, or the header token";
                Err(Error::new(Code::Unauthenticated, detail))
            }
            Some(token) if sessions::is_token(token) => self.person(policy, rule, token).await,
            Some(token) => self.api_token(rule, token, address).await,
        }
    }

    async fn api_token(&self, rule: &Rule, token: &str, address: Option<IpAddr>) -> Result<Identity> {
        // A service token is only for checks of others; it is no identity.
        let admit = |token: &CachedToken| {
            if token.scopes.service.is_none() && rule.admits_token(&token.scopes.list) {
                return Ok(());
            }
            Err(Error::new(Code::Forbidden, "the token may not make this request"))
        };
        let (_, token) = self.tokens.accept(token, address, admit).await?;
        let id = token.token_id.to_string();
        Ok(Identity {
            subject: id.clone(),
            name: encoded(&token.name),
            scopes: token.scopes.text.to_string(),
            token_id: id,
            ..Identity::default()
        })
    }

    async fn person(&self, policy: &Policy, rule: &Rule, token: &str) -> Result<Identity> {
        let touched = self.sessions.touch(token).await?;
        let (live, _) =
            touched.ok_or_else(|| Error::new(Code::InvalidToken, "the session has ended; sign in again"))?;
        let refused = || Error::new(Code::Forbidden, "you may not make this request");
        let named = policy.service.as_deref().ok_or_else(refused)?;
        let service = self.rbac.service(named).await?.filter(|service| service.is_active).ok_or_else(refused)?;
        let access = self.rbac.access(live.user_id, service.id).await?;
        if !rule.admits_person(&access) {
            return Err(refused());
        }
        Ok(Identity {
            subject: live.user_id.to_string(),
            name: encoded(&live.username),
            roles: names::encode_list(&access.roles),
            permissions: access.scope.clone(),
            session_id: live.id.to_string(),
            ..Identity::default()
        })
    }
}

fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    names::encode(name, &mut text);
    text
}
