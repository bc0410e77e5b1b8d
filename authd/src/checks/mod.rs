//! What services ask about a session: whether it is good, whose it is, what its user may do.
//!
//! A check that nothing has to be read for is answered without a future of its own.

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
use crate::rbac::{Access, Rbac, Service};
use crate::registry::Registry;
use crate::sessions::{self, Found, Sessions};
use crate::tokens::Tokens;

/// Questions about sessions and people.
#[derive(Debug)]
pub struct Checks {
    tokens: Arc<Tokens>,
    sessions: Arc<Sessions>,
    rbac: Arc<Rbac>,
}

/// The session's token of a request, and whoever vouches for the question.
struct Presented<'a> {
    token: &'a str,
    asker: Option<&'a str>,
}

/// Finds the token: in the field, else in the header `token`, else it is the bearer. A bearer beside another token is
/// the asking service's own.
fn presented<'a>(
    token: Option<&'a Secret>,
    header_token: Option<&'a Secret>,
    bearer: Option<&'a Secret>,
) -> Result<Presented<'a>> {
    match (token.or(header_token), bearer) {
        (Some(token), bearer) => {
            if header_token.is_some_and(|header| header != token) {
                return Err(Error::field("token", "the body and the header name different tokens; send one"));
            }
            let asker = bearer.filter(|bearer| *bearer != token).map(Secret::expose);
            Ok(Presented { token: token.expose(), asker })
        }
        (None, Some(bearer)) => Ok(Presented { token: bearer.expose(), asker: None }),
        (None, None) => Err(Error::field("token", "expected here, in a header token, or as Authorization: Bearer")),
    }
}

/// The answer to [`CheckToken`]: the JSON of a [`shared::api::checks::CheckedToken`].
#[derive(Debug)]
pub enum CheckedTokenView {
    Valid { live: Found, renewed: bool, access: Option<(ServiceId, Cached<Access>)> },
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
            Self::Valid { live, renewed, access } => {
                let payload = Payload {
                    user_id: live.user_id,
                    username: &live.username,
                    name: &live.name,
                    service_id: access.as_ref().map(|(service, _)| *service),
                    roles: access.as_ref().map(|(_, access)| &*access.roles_json),
                    permissions: access.as_ref().map(|(_, access)| &*access.permissions_json),
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

    /// The answer when nothing has to be read for it.
    fn check_token_now(&self, _: &Call, op: &CheckToken) -> Option<Result<CheckedTokenView>> {
        let presented = presented(op.token.as_ref(), op.header_token.as_ref(), op.bearer.as_ref()).ok()?;
        if presented.asker.is_some() {
            return None;
        }
        if !sessions::is_token(presented.token) {
            return Some(Ok(CheckedTokenView::Invalid(SessionFault::InvalidToken)));
        }
        let live = self.sessions.recall(presented.token)?;
        let asked = match &op.service_id {
            None => None,
            Some(service) => {
                let service = self.rbac.recall_service(service.as_str())?;
                let access = self.rbac.recall(live.user_id, service.id)?;
                Some((service, access))
            }
        };
        Some(Ok(decide(op, live, false, asked)))
    }

    async fn check_token(&self, call: Call, op: CheckToken) -> Result<CheckedTokenView> {
        let presented = presented(op.token.as_ref(), op.header_token.as_ref(), op.bearer.as_ref())?;
        let named = self.asked_service(&call, &presented, op.service_id.as_deref()).await?;
        let Some((live, renewed)) = self.sessions.touch(presented.token).await? else {
            return Ok(CheckedTokenView::Invalid(SessionFault::InvalidToken));
        };
        if op.user_id.is_some_and(|user| user != live.user_id) {
            return Ok(CheckedTokenView::Invalid(SessionFault::UserMismatch));
        }
        let asked = match named {
            None => None,
            Some(None) => return Ok(CheckedTokenView::Invalid(SessionFault::NoAccess)),
            Some(Some(service)) => {
                let access = self.rbac.access(live.user_id, service.id).await?;
                Some((service, access))
            }
        };
        Ok(decide(&op, live, renewed, asked))
    }

    async fn check_access(&self, call: Call, op: CheckAccess) -> Result<CheckedAccess> {
        let presented = presented(op.token.as_ref(), op.header_token.as_ref(), op.bearer.as_ref())?;
        let no = |fault| {
            Ok(CheckedAccess { valid: false, access: None, renewed: None, expires_at: None, error: Some(fault) })
        };
        let named = self.asked_service(&call, &presented, op.service_id.as_deref()).await?;
        let named = named.ok_or_else(|| Error::field("service_id", "expected a service's id or name"))?;
        let Some((live, renewed)) = self.sessions.touch(presented.token).await? else {
            return no(SessionFault::InvalidToken);
        };
        let Some(service) = named else { return no(SessionFault::NoAccess) };
        let access = self.rbac.access(live.user_id, service.id).await?;
        if !access.is_any() {
            return no(SessionFault::NoAccess);
        }
        let expires_at = live.expires_at_seconds();
        let access = ServiceAccess {
            user_id: live.user_id,
            service_id: service.id,
            roles: access.roles.clone(),
            permissions: access.permissions.clone(),
            expires_at,
        };
        Ok(CheckedAccess {
            valid: true,
            access: Some(access),
            renewed: Some(renewed),
            expires_at: Some(expires_at),
            error: None,
        })
    }

    /// The service that a question is about: `None` when it names none, `Some(None)` when there is none of that name or
    /// it is not active. A service that asks with its own token can ask about itself alone.
    async fn asked_service(
        &self,
        call: &Call,
        presented: &Presented<'_>,
        named: Option<&str>,
    ) -> Result<Option<Option<Cached<Service>>>> {
        let service = match named {
            Some(named) => Some(self.rbac.service(named).await?),
            None => None,
        };
        let active = |service: Option<Cached<Service>>| service.filter(|service| service.is_active);
        let Some(asker) = presented.asker else { return Ok(service.map(active)) };
        match self.tokens.authenticate(asker, call.address).await? {
            Caller::Service { service: own, .. } => {
                let own_service = self.rbac.own_service(own).await?;
                match service {
                    Some(service) if service.as_ref().is_none_or(|service| service.id != own) => {
                        Err(Error::new(Code::Forbidden, "a service can ask about its own users only"))
                    }
                    _ => Ok(Some(Some(own_service))),
                }
            }
            caller if caller.can(Permission::AccessRead) => Ok(service.map(active)),
            caller => Err(Error::new(Code::Forbidden, format!("{caller} does not hold the permission access.read"))),
        }
    }

    async fn check_permission(&self, call: Call, op: CheckPermission) -> Result<CheckedPermission> {
        let service = self.rbac.service(op.service_id.as_str()).await?;
        let person = self.rbac.users().find_id(&op.person_id).await?;
        let is_allowed = match &call.caller {
            Caller::Service { service: own, .. } => {
                self.rbac.own_service(*own).await?;
                service.as_ref().is_some_and(|service| service.id == *own)
            }
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

fn decide(
    op: &CheckToken,
    live: Found,
    renewed: bool,
    asked: Option<(Cached<Service>, Cached<Access>)>,
) -> CheckedTokenView {
    if op.user_id.is_some_and(|user| user != live.user_id) {
        return CheckedTokenView::Invalid(SessionFault::UserMismatch);
    }
    match asked {
        Some((service, access)) if !service.is_active || !access.is_any() => {
            CheckedTokenView::Invalid(SessionFault::NoAccess)
        }
        asked => {
            let access = asked.map(|(service, access)| (service.id, access));
            CheckedTokenView::Valid { live, renewed, access }
        }
    }
}
