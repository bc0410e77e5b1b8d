//! How others ask about tokens, API tokens and session tokens alike (RFC 7662), and give them back (RFC 7009).
//!
//! Invariants: an answer about a token is decided anew each time, of an identity that may come from a cache; storage
//! that fails is never an answer about a token; nobody learns about a token that they may not ask about.
//!
//! Services ask with every request, so an answer that nothing has to be read for is made without a future of its own.

mod revoke;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use shared::api::introspection::Introspect;
use shared::id::{ServiceId, TokenId, UserId};
use shared::op::Permission;
use shared::problem::Code;

use crate::base::Base;
use crate::cache::Cached;
use crate::call::Call;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::rbac::{Access, Named, Rbac, Service};
use crate::registry::Registry;
use crate::sessions::model::seconds;
use crate::sessions::{self, LiveSession, Sessions};
use crate::tokens::{self, Recalled, Tokens};

/// Questions about tokens of every kind.
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
    Session { live: sessions::Found, asked: Option<(ServiceId, Cached<Access>)>, issuer: Arc<str> },
    Inactive,
}

impl Serialize for IntrospectionView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct OfToken<'a> {
            active: bool,
            scope: String,
            token_type: &'static str,
            sub: TokenId,
            username: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            exp: Option<i64>,
            iss: &'a str,
        }
        #[derive(Serialize)]
        struct OfSession<'a> {
            active: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            scope: Option<&'a str>,
            token_type: &'static str,
            sub: UserId,
            username: &'a str,
            exp: i64,
            iat: i64,
            iss: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            aud: Option<ServiceId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            roles: Option<&'a RawValue>,
        }
        #[derive(Serialize)]
        struct Inactive {
            active: bool,
        }
        match self {
            Self::Token { token, issuer } => OfToken {
                active: true,
                scope: token.scopes.list().join(" "),
                token_type: "api_token",
                sub: token.token_id,
                username: &token.name,
                exp: token.expires_at().map(seconds),
                iss: issuer,
            }
            .serialize(serializer),
            Self::Session { live, asked, issuer } => OfSession {
                active: true,
                scope: asked.as_ref().map(|(_, access)| access.scope.as_str()),
                token_type: "session",
                sub: live.user_id,
                username: &live.username,
                exp: live.expires_at_seconds(),
                iat: seconds(live.created_at),
                iss: issuer,
                aud: asked.as_ref().map(|(service, _)| *service),
                roles: asked.as_ref().map(|(_, access)| &*access.roles_json),
            }
            .serialize(serializer),
            Self::Inactive => Inactive { active: false }.serialize(serializer),
        }
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

    /// The answer when nothing has to be read for it.
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
        let own = match &call.caller {
            Caller::Service { service, .. } => Some(self.rbac.recall_service(*service)?),
            _ => None,
        };
        let asked = match asked_service(op, own.as_ref().map(|own| &***own)) {
            Ok(Some(named)) => {
                let service = self.rbac.recall_service(named)?;
                let access = self.rbac.recall(live.user_id, service.id)?;
                Some((service, access))
            }
            Ok(None) => None,
            Err(error) => return Some(Err(error)),
        };
        Some(self.judge_session(call, live, asked))
    }

    /// The answer, after reading what it needs. A session that is due is renewed: a service that asks is a use.
    async fn introspect(&self, call: Call, op: Introspect) -> Result<IntrospectionView> {
        let token = op.token.expose();
        if !sessions::is_token(token) {
            return match self.tokens.find(token).await? {
                Some(found) => self.judge_token(&call, found),
                None => judge_unknown(&call),
            };
        }
        let own = match &call.caller {
            Caller::Service { service, .. } => Some(self.rbac.own_service(*service).await?),
            _ => None,
        };
        let named = asked_service(&op, own.as_ref().map(|own| &***own))?;
        // Found before it is touched: who may not ask about it must not keep it alive.
        let Some(live) = self.sessions.find(token).await? else { return judge_unknown(&call) };
        may_ask_about(&call, &live)?;
        let asked = match named {
            None => None,
            Some(named) => {
                let Some(service) = self.rbac.service(named).await? else { return Ok(IntrospectionView::Inactive) };
                let access = self.rbac.access(live.user_id, service.id).await?;
                if !is_welcome(&service, &access) {
                    return Ok(IntrospectionView::Inactive);
                }
                Some((service, access))
            }
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
        // Where a service's client is, the service does not tell; where the token itself comes from is known.
        let address = if is_own { call.address } else { None };
        if token.judge(now, &[], address).is_err() {
            return Ok(IntrospectionView::Inactive);
        }
        self.tokens.mark_used(&token, now);
        Ok(IntrospectionView::Token { token, issuer: self.issuer.clone() })
    }

    fn judge_session(
        &self,
        call: &Call,
        live: sessions::Found,
        asked: Option<(Cached<Service>, Cached<Access>)>,
    ) -> Result<IntrospectionView> {
        may_ask_about(call, &live)?;
        if asked.as_ref().is_some_and(|(service, access)| !is_welcome(service, access)) {
            return Ok(IntrospectionView::Inactive);
        }
        let asked = asked.map(|(service, access)| (service.id, access));
        Ok(IntrospectionView::Session { live, asked, issuer: self.issuer.clone() })
    }
}

/// The service that an answer about a session is for. A service that asks, `own`, can name no other.
fn asked_service<'a>(op: &'a Introspect, own: Option<&Service>) -> Result<Option<Named<'a>>> {
    let named = op.service_id.as_deref().map(Named::from);
    let Some(own) = own else { return Ok(named) };
    let is_own = match named {
        None => true,
        Some(Named::Id(id)) => id == own.id,
        Some(Named::Name(name)) => crate::names::fold(name) == crate::names::fold(&own.name),
    };
    if is_own {
        Ok(Some(Named::Id(own.id)))
    } else {
        Err(Error::new(Code::Forbidden, "a service can ask about its own users only"))
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

/// A service may ask about every session, and is told of none but its users'.
fn may_ask_about(call: &Call, live: &LiveSession) -> Result<()> {
    let is_own = matches!(call.caller, Caller::User { session, .. } if session == live.id);
    may_ask(call, is_own || is_service(call))
}

fn is_welcome(service: &Service, access: &Access) -> bool {
    service.is_active && access.is_any()
}
