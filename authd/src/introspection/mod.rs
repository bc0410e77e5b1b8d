//! Introspection (RFC 7662) and revocation (RFC 7009) of API tokens and session tokens.
//!
//! Invariants: every answer is decided at each call, from an identity that may be cached; a storage failure is never an
//! answer about a token; callers learn nothing about tokens that they may not ask about.
//!
//! Services ask with every request, so an answer that needs no database read is built without a future.

mod revoke;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use shared::api::introspection::Introspect;
use shared::id::ServiceId;
use shared::op::Permission;
use shared::problem::Code;
use uuid::Uuid;

use crate::base::Base;
use crate::call::Call;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::rbac::{Access, InService, Named, Rbac, Service};
use crate::registry::Registry;
use crate::sessions::model::seconds;
use crate::sessions::{self, LiveSession, Sessions};
use crate::tokens::{self, Recalled, Tokens};

/// Introspection and revocation of tokens of every kind.
#[derive(Debug)]
pub struct Introspection {
    base: Base,
    /// authd's public URL.
    issuer: Arc<str>,
    tokens: Arc<Tokens>,
    sessions: Arc<Sessions>,
    rbac: Arc<Rbac>,
}

/// The answer to [`Introspect`]: the JSON of a [`shared::api::introspection::Introspection`].
#[derive(Debug)]
pub enum IntrospectionView {
    Token { token: tokens::Found, issuer: Arc<str> },
    Session { live: sessions::Found, asked: Option<InService>, issuer: Arc<str> },
    Inactive,
}

impl Serialize for IntrospectionView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Answer<'a> {
            active: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            scope: Option<&'a str>,
            token_type: &'static str,
            sub: Uuid,
            username: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            exp: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            iat: Option<i64>,
            iss: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            aud: Option<ServiceId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            roles: Option<&'a RawValue>,
        }
        let answer = match self {
            Self::Inactive => return serializer.collect_map([("active", false)]),
            Self::Token { token, issuer } => Answer {
                active: true,
                scope: Some(&token.scopes.text),
                token_type: "api_token",
                sub: token.token_id.0,
                username: &token.name,
                exp: token.expires_at().map(seconds),
                iat: None,
                iss: issuer,
                aud: None,
                roles: None,
            },
            Self::Session { live, asked, issuer } => Answer {
                active: true,
                scope: asked.as_ref().map(|(_, access)| access.scope.as_str()),
                token_type: "session",
                sub: live.user_id.0,
                username: &live.username,
                exp: Some(live.expires_at_seconds()),
                iat: Some(seconds(live.created_at)),
                iss: issuer,
                aud: asked.as_ref().map(|(service, _)| service.id),
                roles: asked.as_ref().map(|(_, access)| &*access.roles_json),
            },
        };
        answer.serialize(serializer)
    }
}

impl Introspection {
    pub fn new(base: &Base, issuer: &str, tokens: Arc<Tokens>, sessions: Arc<Sessions>, rbac: Arc<Rbac>) -> Arc<Self> {
        Arc::new(Self { base: base.clone(), issuer: issuer.into(), tokens, sessions, rbac })
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add_hot(self, Self::introspect_now, Self::introspect);
        registry.add(self, Self::revoke);
    }

    /// The answer, if it needs no database read.
    fn introspect_now(&self, call: &Call, op: &Introspect) -> Option<Result<IntrospectionView>> {
        let token = op.token.expose();
        if !sessions::is_token(token) {
            return match self.tokens.recall(token, self.base.now()) {
                Recalled::NotFound => Some(judge_unknown(call)),
                Recalled::Found(found) => Some(self.judge_token(call, found)),
                Recalled::Unread => None,
            };
        }
        let live = self.sessions.recall(token)?;
        let asked = match named_service(call, op) {
            Some(named) => Some(self.rbac.recall(named, live.user_id)?),
            None => None,
        };
        Some(self.judge_session(call, live, asked))
    }

    /// The answer, with database reads. A session that is due is renewed: introspection by a service counts as use.
    async fn introspect(&self, call: Call, op: Introspect) -> Result<IntrospectionView> {
        let token = op.token.expose();
        if !sessions::is_token(token) {
            return match self.tokens.find(token).await? {
                Some(found) => self.judge_token(&call, found),
                None => judge_unknown(&call),
            };
        }
        // Found before it is touched: who may not ask about it must not keep it alive, nor cost another read.
        let live = self.sessions.find(token).await?;
        match &live {
            Some(live) => may_ask_about(&call, live)?,
            None => may_ask(&call, is_service(&call))?,
        }
        let named = named_service(&call, &op);
        let service = match named {
            Some(named) => self.rbac.service(named).await?,
            None => None,
        };
        may_name(&call, service.as_ref().map(|service| service.id))?;
        let Some(live) = live else { return Ok(IntrospectionView::Inactive) };
        let asked = match service {
            Some(service) => {
                let access = self.rbac.access(live.user_id, service.id).await?;
                if !is_welcome(&service, &access) {
                    return Ok(IntrospectionView::Inactive);
                }
                Some((service, access))
            }
            None if named.is_some() => return Ok(IntrospectionView::Inactive),
            None => None,
        };
        match self.sessions.touch(token).await? {
            Some((live, _)) => self.judge_session(&call, live, asked),
            None => Ok(IntrospectionView::Inactive),
        }
    }

    fn judge_token(&self, call: &Call, token: tokens::Found) -> Result<IntrospectionView> {
        let is_own = call.caller.is_token(token.token_id);
        if is_service(call) && !is_own {
            return Ok(IntrospectionView::Inactive);
        }
        may_ask(call, is_own)?;
        let now = self.base.now();
        // The address of a service's client is unknown; that of a token that introspects itself is known.
        let address = if is_own { call.address } else { None };
        if token.judge(now, &[], address).is_err() {
            return Ok(IntrospectionView::Inactive);
        }
        self.tokens.mark_used(&token, now);
        Ok(IntrospectionView::Token { token, issuer: self.issuer.clone() })
    }

    fn judge_session(&self, call: &Call, live: sessions::Found, asked: Option<InService>) -> Result<IntrospectionView> {
        may_ask_about(call, &live)?;
        may_name(call, asked.as_ref().map(|(service, _)| service.id))?;
        if asked.as_ref().is_some_and(|(service, access)| !is_welcome(service, access)) {
            return Ok(IntrospectionView::Inactive);
        }
        Ok(IntrospectionView::Session { live, asked, issuer: self.issuer.clone() })
    }
}

/// The service of an answer about a session: the named one, else the calling one.
fn named_service<'a>(call: &Call, op: &'a Introspect) -> Option<Named<'a>> {
    match (&op.service_id, &call.caller) {
        (Some(named), _) => Some(Named::from(named.as_str())),
        (None, Caller::Service { service, .. }) => Some(Named::Id(*service)),
        (None, _) => None,
    }
}

/// A calling service cannot name another one.
fn may_name(call: &Call, named: Option<ServiceId>) -> Result<()> {
    match call.caller {
        Caller::Service { service: own, .. } if named != Some(own) => {
            Err(Error::new(Code::Forbidden, "a service can ask about its own users only"))
        }
        _ => Ok(()),
    }
}

fn may_ask(call: &Call, is_own: bool) -> Result<()> {
    if is_own || call.caller.can(Permission::TokensIntrospect) {
        return Ok(());
    }
    let detail = "asking about the tokens of others needs the permission tokens.introspect, or a service's own token";
    Err(Error::new(Code::Forbidden, detail))
}

fn is_service(call: &Call) -> bool {
    matches!(call.caller, Caller::Service { .. })
}

fn judge_unknown(call: &Call) -> Result<IntrospectionView> {
    may_ask(call, is_service(call)).map(|()| IntrospectionView::Inactive)
}

/// A service may ask about every session, but gets answers only about its users'.
fn may_ask_about(call: &Call, live: &LiveSession) -> Result<()> {
    let is_own = matches!(call.caller, Caller::User { session, .. } if session == live.id);
    may_ask(call, is_own || is_service(call))
}

fn is_welcome(service: &Service, access: &Access) -> bool {
    service.is_active && access.is_any()
}
