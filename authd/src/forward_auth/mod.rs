//! Authorization of requests for a proxy, by the policies of the configuration.
//!
//! Invariants: a client's input never selects or weakens a policy; requests that cannot be parsed are denied; and what
//! services may read in several ways is allowed only as far as each of them (see [`decision`]).

mod decision;
mod explain;
pub mod model;
pub mod path;
mod policy;
mod refusals;
mod warnings;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use shared::api::sessions::SessionKind;
use shared::problem::Code;

use self::decision::Denied;
pub use self::explain::explain;
use self::model::ForwardedRequest;
pub use self::policy::{Policy, Rule, Source, check};
pub use self::refusals::{Refusal, Who};
use crate::error::{Error, Result};
use crate::names;
use crate::rbac::{Access, Rbac};
use crate::sessions::{self, Sessions};
use crate::tokens::Tokens;
use crate::tokens::model::CachedToken;
use crate::web_login::cookies::Cookies;

/// The longest list of names in the answer to a proxy, in bytes: proxies and services bound the size of headers.
const MAX_LIST: usize = 4 << 10;

/// The policies of forward authentication.
#[derive(Debug)]
pub struct ForwardAuth {
    policies: Vec<Policy>,
    pub cookies: Cookies,
    tokens: Arc<Tokens>,
    sessions: Arc<Sessions>,
    rbac: Arc<Rbac>,
}

/// How the client of a request shows who it is.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    /// An API token, or a session token.
    Token(&'a str),
    /// The cookie of a browser's session.
    Cookie(&'a str),
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
    /// The roles of a person in the policy's service, percent-encoded, separated by spaces; at most [`MAX_LIST`].
    pub roles: String,
    /// Of the permissions that the policy names, those that the person has.
    pub permissions: String,
    pub token_id: String,
    pub session_id: String,
}

impl ForwardAuth {
    pub fn new(
        policies: Vec<Policy>,
        cookies: Cookies,
        tokens: Arc<Tokens>,
        sessions: Arc<Sessions>,
        rbac: Arc<Rbac>,
    ) -> Arc<Self> {
        Arc::new(Self { policies, cookies, tokens, sessions, rbac })
    }

    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.name == name)
    }

    /// Logs services that the policies name and that are not there.
    pub async fn warn(&self) {
        for policy in &self.policies {
            let Some(service) = policy.service.as_deref() else { continue };
            match self.rbac.service(service).await {
                Ok(Some(found)) if found.is_active => {}
                Ok(Some(_)) => tracing::warn!(policy = policy.name, service, "the service of a policy is not active"),
                Ok(None) => tracing::warn!(
                    policy = policy.name,
                    service,
                    "the policy names a service that does not exist, so no person is allowed: authctl service create"
                ),
                // Storage that fails is logged where it is used.
                Err(_) => return,
            }
        }
    }

    /// Decides by the first rule that matches; an unreadable credential is an error only if the rule needs one.
    /// `readings` is the request in each way in which services may read it. `address` is the client's, if a trusted
    /// proxy sent it.
    pub async fn decide(
        &self,
        policy: &Policy,
        readings: &[ForwardedRequest],
        credential: Result<Option<Credential<'_>>>,
        address: Option<IpAddr>,
    ) -> Result<Identity, Refusal> {
        let decision = match policy.decide_all(readings) {
            Ok(decision) => decision,
            Err(denied) => return Err(self.denied(denied, credential, address).await),
        };
        if decision.rule.public {
            return Ok(Identity::default());
        }
        let mut who = Who::Anonymous;
        let answer = match credential {
            Err(error) => Err(error),
            Ok(None) => {
                let detail = "this needs credentials: Authorization: Bearer <token>, the header token, or the cookie of a sign-in";
                Err(Error::new(Code::Unauthenticated, detail))
            }
            Ok(Some(Credential::Token(token))) if !sessions::is_token(token) => {
                self.api_token(decision.rule, token, address, &mut who).await
            }
            Ok(Some(credential)) => self.person(policy, decision.rule, credential, &mut who).await,
        };
        answer.map_err(|error| Refusal { error, decided_by: Some(decision.to_string()), why: None, who })
    }

    /// The refusal of a request about which no rule decides. The caller is identified for the log.
    async fn denied(
        &self,
        denied: Denied<'_>,
        credential: Result<Option<Credential<'_>>>,
        address: Option<IpAddr>,
    ) -> Refusal {
        let mut who = Who::Anonymous;
        if let Ok(Some(Credential::Token(token) | Credential::Cookie(token))) = credential {
            // Whatever fails here is not the answer.
            if sessions::is_token(token) {
                if let Ok(Some(live)) = self.sessions.find(token).await {
                    who = Who::Person(live.username.to_string(), live.user_id);
                }
            } else {
                let refuse = |token: &CachedToken| {
                    who = Who::Token(token.token_id);
                    Err(Error::new(Code::Forbidden, denied.detail()))
                };
                let _ = self.tokens.accept(token, address, refuse).await;
            }
        }
        let error = Error::new(Code::Forbidden, denied.detail());
        Refusal { error, decided_by: None, why: Some(denied.to_string()), who }
    }

    async fn api_token(&self, rule: &Rule, token: &str, address: Option<IpAddr>, who: &mut Who) -> Result<Identity> {
        // A service token is only for checks of others; it is no identity.
        let admit = |token: &CachedToken| {
            *who = Who::Token(token.token_id);
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

    async fn person(
        &self,
        policy: &Policy,
        rule: &Rule,
        credential: Credential<'_>,
        who: &mut Who,
    ) -> Result<Identity> {
        let (token, is_cookie) = match credential {
            Credential::Token(token) => (token, false),
            Credential::Cookie(token) => (token, true),
        };
        let touched = self.sessions.touch(token).await?;
        let live = touched.map(|(live, _)| live).filter(|live| !is_cookie || live.kind == SessionKind::Web);
        let live = live.ok_or_else(|| Error::new(Code::InvalidToken, "the session has ended; sign in again"))?;
        let refused = || Error::new(Code::Forbidden, "you may not make this request");
        let access = match policy.service.as_deref() {
            Some(named) => match self.rbac.service(named).await? {
                Some(service) if service.is_active => Some(self.rbac.access(live.user_id, service.id).await?),
                _ => None,
            },
            None => None,
        };
        let Some(access) = access.filter(|access| rule.admits_person(access)) else {
            *who = Who::Person(live.username.to_string(), live.user_id);
            return Err(refused());
        };
        Ok(Identity {
            subject: live.user_id.to_string(),
            name: encoded(&live.username),
            roles: bounded(names::encode_list(&access.roles)),
            permissions: bounded(names::encode_list(&held(policy, &access))),
            session_id: live.id.to_string(),
            ..Identity::default()
        })
    }
}

/// Of the permissions that the policy names, those that the person has, in order and as they are called.
fn held(policy: &Policy, access: &Access) -> Vec<String> {
    let named = policy.rules.iter().flat_map(|rule| rule.permissions.iter().flatten());
    let named: BTreeSet<String> = named.map(|name| names::fold(name)).collect();
    let own = access.permissions.iter().filter(|name| named.contains(&names::fold(name)));
    let mut held: BTreeSet<String> = own.cloned().collect();
    // On authd some permissions contain others.
    held.extend(named.into_iter().filter(|name| access.of_authd(name)));
    held.into_iter().collect()
}

/// The list without the names beyond [`MAX_LIST`].
fn bounded(mut list: String) -> String {
    if list.len() > MAX_LIST {
        let end = list.as_bytes()[..=MAX_LIST].iter().rposition(|byte| *byte == b' ').unwrap_or_default();
        list.truncate(end);
    }
    list
}

fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    names::encode(name, &mut text);
    text
}
