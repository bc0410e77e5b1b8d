//! What services ask about a session: is it good, whose is it, what may its user do.
//!
//! A check that nothing has to be read for is answered without a future of its own, and written by hand.

use std::sync::Arc;

use shared::api::checks::{
    CheckAccess, CheckPermission, CheckToken, CheckedAccess, CheckedPermission, CheckedToken, QueryPermission,
    ServiceAccess, SessionFault,
};
use shared::api::sessions::{Identity, WhoAmI};
use shared::id::{ServiceId, UserId};
use shared::op::Permission;
use shared::problem::Code;
use shared::secret::Secret;

use super::live::{self, Live};
use super::store::people;
use crate::app::{App, Ctx};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::names;
use crate::rbac::access::{Access, Service};
use crate::registry::Reply;

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

/// The answer to [`CheckToken`] when nothing has to be read.
pub(super) fn check_token_cached(app: &App, op: &CheckToken) -> Option<Reply> {
    let presented = presented(op.token.as_ref(), op.header_token.as_ref(), op.bearer.as_ref()).ok()?;
    if presented.asker.is_some() {
        return None;
    }
    if !live::is_token(presented.token) {
        return Some(refuse(SessionFault::InvalidToken));
    }
    let now = app.world.now();
    let live = app.sessions.cached(&live::hash(presented.token), now)?;
    if op.user_id.is_some_and(|user| user != live.user_id) {
        return Some(refuse(SessionFault::UserMismatch));
    }
    let Some(service) = &op.service_id else { return Some(accept(&live, false, None)) };
    let service = app.rbac.cached_service(service.as_str(), now)?;
    let access = app.rbac.cached(live.user_id, service.id, now)?;
    Some(decide(&live, false, &service, &access))
}

pub(super) async fn check_token(ctx: Ctx, op: CheckToken) -> Result<Reply> {
    let app = &ctx.app;
    let presented = presented(op.token.as_ref(), op.header_token.as_ref(), op.bearer.as_ref())?;
    let named = asked_service(&ctx, &presented, op.service_id.as_deref()).await?;
    let Some((live, renewed)) = app.sessions.touch(app, presented.token).await? else {
        return Ok(refuse(SessionFault::InvalidToken));
    };
    if op.user_id.is_some_and(|user| user != live.user_id) {
        return Ok(refuse(SessionFault::UserMismatch));
    }
    match named {
        None => Ok(accept(&live, renewed, None)),
        Some(None) => Ok(refuse(SessionFault::NoAccess)),
        Some(Some(service)) => {
            let access = app.rbac.access(app, live.user_id, service.id).await?;
            Ok(decide(&live, renewed, &service, &access))
        }
    }
}

pub(super) async fn check_access(ctx: Ctx, op: CheckAccess) -> Result<CheckedAccess> {
    let app = &ctx.app;
    let presented = presented(op.token.as_ref(), op.header_token.as_ref(), op.bearer.as_ref())?;
    let no =
        |fault| Ok(CheckedAccess { valid: false, access: None, renewed: None, expires_at: None, error: Some(fault) });
    let named = asked_service(&ctx, &presented, op.service_id.as_deref()).await?;
    let named = named.ok_or_else(|| Error::field("service_id", "expected a service's id or name"))?;
    let Some((live, renewed)) = app.sessions.touch(app, presented.token).await? else {
        return no(SessionFault::InvalidToken);
    };
    let Some(service) = named else { return no(SessionFault::NoAccess) };
    let access = app.rbac.access(app, live.user_id, service.id).await?;
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
    ctx: &Ctx,
    presented: &Presented<'_>,
    named: Option<&str>,
) -> Result<Option<Option<Arc<Service>>>> {
    let app = &ctx.app;
    let service = match named {
        Some(named) => Some(app.rbac.service(app, named).await?),
        None => None,
    };
    let Some(asker) = presented.asker else { return Ok(service.map(active)) };
    match app.tokens.authenticate(app, asker, ctx.address).await? {
        Caller::Service { service: own, .. } => {
            let own_service = own_service(app, own).await?;
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

fn active(service: Option<Arc<Service>>) -> Option<Arc<Service>> {
    service.filter(|service| service.is_active)
}

/// The service of a service's own token; the token is as dead as its service.
pub async fn own_service(app: &App, own: ServiceId) -> Result<Arc<Service>> {
    let service = active(app.rbac.service(app, own).await?);
    service.ok_or_else(|| Error::new(Code::InvalidToken, "the service of this token is not active"))
}

pub(super) async fn check_permission(ctx: Ctx, op: CheckPermission) -> Result<CheckedPermission> {
    let app = &ctx.app;
    let service = app.rbac.service(app, op.service_id.as_str()).await?;
    let person = find_person(app, &op.person_id).await?;
    let is_allowed = match &ctx.caller {
        Caller::Service { service: own, .. } => {
            own_service(app, *own).await?;
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
    let access = app.rbac.access(app, person, service.id).await?;
    Ok(CheckedPermission { has_permission: access.contains(&op.permission_name) })
}

pub(super) async fn query_permission(ctx: Ctx, op: QueryPermission) -> Result<CheckedPermission> {
    let QueryPermission { person_id, service_id, permission_name } = op;
    check_permission(ctx, CheckPermission { person_id, service_id, permission_name }).await
}

/// A user's id, from the id itself or the name of a user who is not deleted.
pub async fn find_person(app: &App, id_or_name: &str) -> Result<Option<UserId>> {
    if let Ok(id) = id_or_name.parse() {
        return Ok(Some(id));
    }
    people::find_id(app.db.as_ref(), &names::fold(id_or_name)).await
}

pub(super) async fn whoami(ctx: Ctx, _: WhoAmI) -> Result<Identity> {
    let app = &ctx.app;
    let (user, service_id) = match &ctx.caller {
        Caller::User { id, username, .. } => {
            let name = people::find_name(app.db.as_ref(), *id).await?.unwrap_or_default();
            let username = username.clone();
            let user = shared::api::sessions::Payload {
                user_id: *id,
                username,
                name,
                service_id: None,
                roles: None,
                permissions: None,
            };
            (Some(user), None)
        }
        Caller::Service { service, .. } => (None, Some(*service)),
        _ => (None, None),
    };
    let permissions = ctx.caller.permissions().iter().map(|permission| permission.as_str().to_owned()).collect();
    Ok(Identity { caller: ctx.caller.to_string(), user, service_id, permissions })
}

fn decide(live: &Live, renewed: bool, service: &Service, access: &Access) -> Reply {
    if !service.is_active || !access.is_any() {
        return refuse(SessionFault::NoAccess);
    }
    accept(live, renewed, Some((service.id, access)))
}

/// The JSON of a [`CheckedToken`], written by hand: most of it is ready in the caches. A test holds it against the
/// struct.
fn accept(live: &Live, renewed: bool, access: Option<(ServiceId, &Access)>) -> Reply {
    let mut json =
        Json::new("{\"valid\":true", live.names_json.len() + access.map_or(0, |(_, access)| access.json().len()));
    json.raw(",\"payload\":{").raw("\"user_id\":").id(live.user_id.0).raw(",").raw(&live.names_json);
    if let Some((service, access)) = access {
        json.member("service_id").id(service.0).raw(",").raw(access.json());
    }
    json.raw("}").member("renewed").raw(if renewed { "true" } else { "false" });
    json.member("expires_at").value(&live.expires_at_seconds());
    json.end()
}

fn refuse(fault: SessionFault) -> Reply {
    let checked = CheckedToken { valid: false, payload: None, renewed: None, expires_at: None, error: Some(fault) };
    // A struct of plain values cannot fail to serialize.
    Reply { status: 200, body: serde_json::to_vec(&checked).unwrap_or_default().into() }
}

#[cfg(test)]
mod tests {
    use shared::id::SessionId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_answer_written_by_hand_is_the_struct() {
        let user = UserId(Uuid::from_u128(7));
        let live = Live::new(SessionId(Uuid::from_u128(1)), user, "al\"ice", "Zoë \\ {x}", 1, 2, 5_000, 9_000, 3);
        let access = Access::new(vec!["r".into()], vec!["a".into(), "b".into()]);
        let service = ServiceId(Uuid::from_u128(9));
        for (access, renewed) in [(None, true), (Some((service, &access)), false)] {
            let mut payload = live.payload().unwrap();
            if let Some((service, access)) = access {
                payload.service_id = Some(service);
                payload.roles = Some(access.roles.clone());
                payload.permissions = Some(access.permissions.clone());
            }
            let checked = CheckedToken {
                valid: true,
                payload: Some(payload),
                renewed: Some(renewed),
                expires_at: Some(5),
                error: None,
            };
            let written: CheckedToken = serde_json::from_slice(&accept(&live, renewed, access).body).unwrap();
            assert_eq!(written, checked);
        }
    }
}
