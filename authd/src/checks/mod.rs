//! Checks of sessions for services: whether a session is valid, whose it is, and what its user may do.
//!
//! A check that needs no database read is answered without a future.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use shared::api::checks::{
    CheckAccess, CheckPermission, CheckToken, CheckedAccess, CheckedPermission, QueryPermission, ServiceAccess,
    SessionFault,
};
use shared::id::{ServiceId, UserId};
use shared::op::Permission;
use shared::problem::Code;
use shared::secret::Secret;

use crate::cache::Cached;
use crate::call::Call;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::rbac::{InService, Rbac, Service};
use crate::registry::Registry;
use crate::sessions::{self, Found, Sessions};
use crate::tokens::Tokens;

/// The checks of sessions and people.
#[derive(Debug)]
pub struct Checks {
    tokens: Arc<Tokens>,
    sessions: Arc<Sessions>,
    rbac: Arc<Rbac>,
}

/// Finds the session token: the field, else the header `token`, else the bearer. If one of the first two is present,
/// the bearer is the calling service's own token.
fn presented(op: &CheckToken) -> Result<(&str, Option<&str>)> {
    let header_token = op.header_token.as_ref();
    match (op.token.as_ref().or(header_token), op.bearer.as_ref()) {
        (Some(token), _) if header_token.is_some_and(|header| header != token) => {
            Err(Error::field("token", "the body and the header name different tokens; send one"))
        }
        (Some(token), bearer) => Ok((token.expose(), bearer.filter(|bearer| *bearer != token).map(Secret::expose))),
        (None, Some(bearer)) => Ok((bearer.expose(), None)),
        (None, None) => Err(Error::field("token", "expected here, in a header token, or as Authorization: Bearer")),
    }
}

/// The service that a question names, if it names one; a fault: there is none of that name, or it is not active.
type NamedService = Result<Option<Cached<Service>>, SessionFault>;

/// The answer to [`CheckToken`]: the JSON of a [`shared::api::checks::CheckedToken`].
#[derive(Debug)]
pub enum CheckedTokenView {
    Valid { live: Found, renewed: bool, asked: Option<InService> },
    Invalid(SessionFault),
}

impl Serialize for CheckedTokenView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Good<'a> {
            valid: bool,
            payload: Payload<'a>,
            renewed: bool,
            expires_at: i64,
        }
        #[derive(Serialize)]
        struct Payload<'a> {
            user_id: UserId,
            username: &'a str,
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            service_id: Option<ServiceId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            roles: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            permissions: Option<&'a RawValue>,
        }
        #[derive(Serialize)]
        struct Invalid {
            valid: bool,
            error: SessionFault,
        }
        match self {
            Self::Valid { live, renewed, asked } => {
                let payload = Payload {
                    user_id: live.user_id,
                    username: &live.username,
                    name: &live.name,
                    service_id: asked.as_ref().map(|(service, _)| service.id),
                    roles: asked.as_ref().map(|(_, access)| &*access.roles_json),
                    permissions: asked.as_ref().map(|(_, access)| &*access.permissions_json),
                };
                let expires_at = live.expires_at_seconds();
                Good { valid: true, payload, renewed: *renewed, expires_at }.serialize(serializer)
            }
            Self::Invalid(fault) => Invalid { valid: false, error: *fault }.serialize(serializer),
        }
    }
}

impl Checks {
    pub fn new(tokens: Arc<Tokens>, sessions: Arc<Sessions>, rbac: Arc<Rbac>) -> Arc<Self> {
        Arc::new(Self { tokens, sessions, rbac })
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add_hot(self, Self::check_token_now, Self::check_token);
        registry.add(self, Self::check_access);
        registry.add(self, Self::check_permission);
        registry.add(self, Self::query_permission);
    }

    /// The answer, if it needs no database read.
    fn check_token_now(&self, _: &Call, op: &CheckToken) -> Option<Result<CheckedTokenView>> {
        let (token, asker) = presented(op).ok()?;
        if asker.is_some() {
            return None;
        }
        if !sessions::is_token(token) {
            return Some(Ok(CheckedTokenView::Invalid(SessionFault::InvalidToken)));
        }
        let live = self.sessions.recall(token)?;
        let asked = match &op.service_id {
            None => None,
            Some(service) => Some(self.rbac.recall(service.as_str(), live.user_id)?),
        };
        Some(Ok(decide(op.user_id, live, false, asked)))
    }

    async fn check_token(&self, call: Call, op: CheckToken) -> Result<CheckedTokenView> {
        let (token, asker) = presented(&op)?;
        let named = self.named_service(&call, asker, op.service_id.as_deref()).await?;
        self.check(token, named, op.user_id).await
    }

    /// Checks a session, and renews it when it is due. `user` is the required owner.
    async fn check(&self, token: &str, named: NamedService, user: Option<UserId>) -> Result<CheckedTokenView> {
        let Some((live, renewed)) = self.sessions.touch(token).await? else {
            return Ok(CheckedTokenView::Invalid(SessionFault::InvalidToken));
        };
        if user.is_some_and(|user| user != live.user_id) {
            return Ok(CheckedTokenView::Invalid(SessionFault::UserMismatch));
        }
        let asked = match named {
            Ok(Some(service)) => {
                let access = self.rbac.access(live.user_id, service.id).await?;
                Some((service, access))
            }
            Ok(None) => None,
            Err(fault) => return Ok(CheckedTokenView::Invalid(fault)),
        };
        Ok(decide(user, live, renewed, asked))
    }

    async fn check_access(&self, call: Call, op: CheckAccess) -> Result<CheckedAccess> {
        let CheckAccess { token, header_token, bearer, service_id } = op;
        let op = CheckToken { token, header_token, bearer, service_id, user_id: None };
        let (token, asker) = presented(&op)?;
        let named = self.named_service(&call, asker, op.service_id.as_deref()).await?;
        if matches!(named, Ok(None)) {
            return Err(Error::field("service_id", "expected a service's id or name"));
        }
        Ok(match self.check(token, named, None).await? {
            CheckedTokenView::Valid { live, renewed, asked } => {
                let expires_at = live.expires_at_seconds();
                let access = asked.map(|(service, access)| ServiceAccess {
                    user_id: live.user_id,
                    service_id: service.id,
                    roles: access.roles.clone(),
                    permissions: access.permissions.clone(),
                    expires_at,
                });
                let (renewed, expires_at) = (Some(renewed), Some(expires_at));
                CheckedAccess { valid: true, access, renewed, expires_at, error: None }
            }
            CheckedTokenView::Invalid(fault) => {
                CheckedAccess { valid: false, access: None, renewed: None, expires_at: None, error: Some(fault) }
            }
        })
    }

    /// The service that the request is about. A service token can ask only about its own service.
    async fn named_service(&self, call: &Call, asker: Option<&str>, named: Option<&str>) -> Result<NamedService> {
        let service = match named {
            Some(named) => Some(self.rbac.service(named).await?),
            None => None,
        };
        let active = |service: Option<Cached<Service>>| {
            service.filter(|service| service.is_active).ok_or(SessionFault::NoAccess)
        };
        let Some(asker) = asker else { return Ok(service.map(active).transpose()) };
        match self.tokens.authenticate(asker, call.address).await? {
            Caller::Service { service: own, .. } => {
                let own_service = self.rbac.own_service(own).await?;
                match service {
                    Some(service) if service.as_ref().is_none_or(|service| service.id != own) => {
                        Err(Error::new(Code::Forbidden, "a service can ask about its own users only"))
                    }
                    _ => Ok(Ok(Some(own_service))),
                }
            }
            caller if caller.can(Permission::AccessRead) => Ok(service.map(active).transpose()),
            caller => Err(Error::new(Code::Forbidden, format!("{caller} does not hold the permission access.read"))),
        }
    }

    async fn check_permission(&self, call: Call, op: CheckPermission) -> Result<CheckedPermission> {
        let service = self.rbac.service(op.service_id.as_str()).await?;
        let person = self.rbac.users().find_id(&op.person_id).await?;
        let is_allowed = match &call.caller {
            Caller::Service { service: own, .. } => service.as_ref().is_some_and(|service| service.id == *own),
            Caller::User { id, .. } if person == Some(*id) => true,
            caller => caller.can(Permission::AccessRead),
        };
        if !is_allowed {
            let detail = "people may ask about themselves, services about their own users, others need access.read";
            return Err(Error::new(Code::Forbidden, detail));
        }
        let (Some(service), Some(person)) = (service, person) else {
            return Ok(CheckedPermission { has_permission: false });
        };
        let access = self.rbac.access(person, service.id).await?;
        Ok(CheckedPermission { has_permission: access.contains(&op.permission_name) })
    }

    async fn query_permission(&self, call: Call, op: QueryPermission) -> Result<CheckedPermission> {
        let QueryPermission { person_id, service_id, permission_name } = op;
        self.check_permission(call, CheckPermission { person_id, service_id, permission_name }).await
    }
}

fn decide(user: Option<UserId>, live: Found, renewed: bool, asked: Option<InService>) -> CheckedTokenView {
    if user.is_some_and(|user| user != live.user_id) {
        return CheckedTokenView::Invalid(SessionFault::UserMismatch);
    }
    match asked {
        Some((service, access)) if !service.is_active || !access.is_any() => {
            CheckedTokenView::Invalid(SessionFault::NoAccess)
        }
        asked => CheckedTokenView::Valid { live, renewed, asked },
    }
}
