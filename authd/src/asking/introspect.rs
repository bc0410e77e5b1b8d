//! What is this token good for? (RFC 7662)
//!
//! Services ask with every request, so an answer that nothing has to be read for is made without a future of its own,
//! and written by hand.

use bytes::Bytes;
use shared::api::introspection::Introspect;
use shared::id::ServiceId;
use shared::op::Permission;
use shared::problem::Code;

use crate::app::Ctx;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::rbac::Access;
use crate::rbac::access::{Named, Service};
use crate::registry::Reply;
use crate::sessions::check;
use crate::sessions::live::{self, Live};
use crate::tokens::model::Grant;
use crate::tokens::{Found, Known};
use crate::world::Millis;

/// The answer when nothing has to be read for it.
pub(super) fn introspect_cached(ctx: &Ctx, op: &Introspect) -> Option<Reply> {
    let (app, token, now) = (&ctx.app, op.token.expose(), ctx.now());
    let answer = if live::is_token(token) {
        let live = app.sessions.cached(&live::hash(token), now)?;
        let own = match &ctx.caller {
            Caller::Service { service, .. } => Some(app.rbac.cached_service(*service, now)?),
            _ => None,
        };
        let service = match asked_service(op, own.as_deref()) {
            Ok(Some(Named::Id(id))) if own.as_ref().is_some_and(|own| own.id == id) => own,
            Ok(Some(service)) => Some(app.rbac.cached_service(service, now)?),
            Ok(None) => None,
            Err(error) => return refused(error),
        };
        match service {
            Some(service) => {
                let access = app.rbac.cached(live.user_id, service.id, now)?;
                answer_session(ctx, &live, Some((&service, &access)))
            }
            None => answer_session(ctx, &live, None),
        }
    } else {
        match app.tokens.recall(token, now) {
            Known::No => judge_unknown(ctx),
            Known::Yes(found) => judge_token(ctx, &found),
            Known::Unread => return None,
        }
    };
    answer.map_or_else(refused, Some)
}

/// A refusal is written where errors are: the slow way meets the same one.
fn refused(_: Error) -> Option<Reply> {
    None
}

/// The answer, after reading what it needs. A session that is due is renewed: a service that asks is a use.
pub(super) async fn introspect(ctx: Ctx, op: Introspect) -> Result<Reply> {
    let (app, token) = (&ctx.app, op.token.expose());
    if !live::is_token(token) {
        return match app.tokens.look_up(app, token).await? {
            Some(found) => judge_token(&ctx, &found),
            None => judge_unknown(&ctx),
        };
    }
    let own = match &ctx.caller {
        Caller::Service { service, .. } => Some(check::own_service(app, *service).await?),
        _ => None,
    };
    let named = asked_service(&op, own.as_deref())?;
    // Found before it is touched: who may not ask about it must not keep it alive.
    let Some(live) = app.sessions.find(app, token).await? else { return judge_unknown(&ctx) };
    may_ask_about(&ctx, &live)?;
    let Some(named) = named else {
        let touched = app.sessions.touch(app, token).await?;
        return touched.map_or(Ok(inactive()), |(live, _)| answer_session(&ctx, &live, None));
    };
    let Some(service) = app.rbac.service(app, named).await? else { return Ok(inactive()) };
    let access = app.rbac.access(app, live.user_id, service.id).await?;
    if !is_welcome(&service, &access) {
        return Ok(inactive());
    }
    let touched = app.sessions.touch(app, token).await?;
    touched.map_or(Ok(inactive()), |(live, _)| answer_session(&ctx, &live, Some((&service, &access))))
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

fn may_ask(ctx: &Ctx, is_own: bool) -> Result<()> {
    if is_own || ctx.caller.can(Permission::TokensIntrospect) {
        return Ok(());
    }
    let detail = "asking about the tokens of others needs the permission tokens.introspect, or a service's own token";
    Err(Error::new(Code::Forbidden, detail))
}

fn is_service(ctx: &Ctx) -> bool {
    matches!(ctx.caller, Caller::Service { .. })
}

fn judge_unknown(ctx: &Ctx) -> Result<Reply> {
    may_ask(ctx, is_service(ctx)).map(|()| inactive())
}

fn judge_token(ctx: &Ctx, found: &Found) -> Result<Reply> {
    let grant = found.grant();
    let is_own = match &ctx.caller {
        Caller::Token { id, .. } | Caller::Service { token: id, .. } => id.0 == grant.token_id,
        _ => false,
    };
    if is_service(ctx) && !is_own {
        return Ok(inactive());
    }
    may_ask(ctx, is_own)?;
    let now = ctx.now();
    // Where a service's client is, the service does not tell; where the token itself comes from is known.
    let address = if is_own { ctx.address } else { None };
    if grant.judge(now, &[], address).is_err() {
        return Ok(inactive());
    }
    ctx.app.tokens.mark_use(found, now);
    Ok(active_token(grant, &ctx.app.config.server.public_url))
}

/// A service may ask about every session, and is told of none but its users'.
fn may_ask_about(ctx: &Ctx, live: &Live) -> Result<()> {
    let is_own = matches!(ctx.caller, Caller::User { session, .. } if session == live.id);
    may_ask(ctx, is_own || is_service(ctx))
}

fn is_welcome(service: &Service, access: &Access) -> bool {
    service.is_active && access.is_any()
}

fn answer_session(ctx: &Ctx, live: &Live, asked: Option<(&Service, &Access)>) -> Result<Reply> {
    may_ask_about(ctx, live)?;
    if asked.is_some_and(|(service, access)| !is_welcome(service, access)) {
        return Ok(inactive());
    }
    let asked = asked.map(|(service, access)| (service.id, access));
    Ok(active_session(live, asked, &ctx.app.config.server.public_url))
}

fn inactive() -> Reply {
    Reply { status: 200, body: Bytes::from_static(b"{\"active\":false}") }
}

const ACTIVE: &str = "{\"active\":true";

fn active_token(grant: &Grant, issuer: &str) -> Reply {
    let mut json = Json::new(ACTIVE, grant.scopes.json().len() + grant.name_json.len());
    json.member("scope").raw("\"");
    for (index, scope) in grant.scopes.list().iter().enumerate() {
        // Of the characters of RFC 6749 §3.3, none of which JSON escapes.
        json.raw(if index == 0 { "" } else { " " }).raw(scope);
    }
    json.raw("\"");
    json.member("token_type").raw("\"api_token\"");
    json.member("sub").id(grant.token_id);
    json.member("username").raw(&*grant.name_json);
    if grant.expires_at != Millis::MAX {
        json.member("exp").value(&crate::sessions::model::seconds(grant.expires_at));
    }
    json.member("iss").value(issuer);
    json.end()
}

fn active_session(live: &Live, asked: Option<(ServiceId, &Access)>, issuer: &str) -> Reply {
    let more = asked.map_or(0, |(_, access)| access.json().len() + access.scope().len());
    let mut json = Json::new(ACTIVE, live.names_json.len() + more);
    if let Some((_, access)) = asked {
        json.member("scope").raw("\"").raw(access.scope()).raw("\"");
    }
    json.member("token_type").raw("\"session\"");
    json.member("sub").id(live.user_id.0);
    json.member("username").raw(live.username_json());
    json.member("exp").value(&live.expires_at_seconds());
    json.member("iat").value(&crate::sessions::model::seconds(live.created_at));
    json.member("iss").value(issuer);
    if let Some((service, access)) = asked {
        json.member("aud").id(service.0).raw(",").raw(access.roles_json());
    }
    json.end()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shared::api::introspection::Introspection;
    use shared::id::{SessionId, UserId};
    use uuid::Uuid;

    use super::*;
    use crate::tokens::model::Scopes;

    const ISSUER: &str = "https://auth.example.com/\"odd\"";

    #[test]
    fn the_answer_about_a_token_written_by_hand_is_the_struct() {
        let id = Uuid::from_u128(7);
        for (expires_at, exp) in [(Millis::MAX, None), (1_999, Some(1))] {
            let grant = Grant {
                token_id: id,
                scopes: Arc::new(Scopes::from_json("[\"read\",\"s3:%Get'\"]").unwrap()),
                name_json: "\"ein \\\"Name\\\" ü\"".into(),
                expires_at,
                revoked: false,
                cidrs: Box::default(),
            };
            let expected = Introspection {
                active: true,
                scope: Some("read s3:%Get'".into()),
                token_type: Some("api_token".into()),
                sub: Some(id.to_string()),
                username: Some("ein \"Name\" ü".into()),
                exp,
                iss: Some(ISSUER.into()),
                ..Introspection::default()
            };
            assert_eq!(active_token(&grant, ISSUER).body, serde_json::to_vec(&expected).unwrap());
        }
    }

    #[test]
    fn the_answer_about_a_session_written_by_hand_is_the_struct() {
        let (user, service) = (UserId(Uuid::from_u128(7)), ServiceId(Uuid::from_u128(9)));
        let live = Live::new(SessionId(Uuid::from_u128(1)), user, "al\"ice", "Zoë", 1_000, 2, 5_000, 9_000, 3);
        let access = Access::new(
            vec!["the \"first\"".into(), "ö".into()],
            vec!["\"\\".into(), "50%".into(), "a.b".into(), "read all".into()],
        );
        for asked in [None, Some((service, &access))] {
            let expected = Introspection {
                active: true,
                scope: asked.map(|_| "%22%5C 50%25 a.b read%20all".into()),
                token_type: Some("session".into()),
                sub: Some(user.to_string()),
                username: Some("al\"ice".into()),
                exp: Some(5),
                iat: Some(1),
                iss: Some(ISSUER.into()),
                aud: asked.map(|_| service),
                roles: asked.map(|_| access.roles.clone()),
            };
            assert_eq!(active_session(&live, asked, ISSUER).body, serde_json::to_vec(&expected).unwrap());
        }
    }

    #[test]
    fn an_inactive_token_says_nothing_else() {
        assert_eq!(inactive().body, serde_json::to_vec(&Introspection::default()).unwrap());
    }
}
