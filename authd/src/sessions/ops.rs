//! List and end sessions.

use shared::api::sessions::{
    EndOwnSession, EndSession, EndUserSessions, EndedSession, EndedSessions, ListOwnSessions, ListSessions, SessionList,
};
use shared::id::{SessionId, UserId};
use shared::page::Limit;
use shared::time::Time;

use super::check::find_person;
use super::login;
use super::model::DeviceSession;
use super::store::{self, Filter};
use crate::app::Ctx;
use crate::caller::Caller;
use crate::cli_login;
use crate::error::{Error, Result};
use crate::ledger::{Change, Refused};

/// After every id, which is of lower-case hexadecimal digits: a letter, since databases disagree on where signs sort.
const BEYOND: &str = "g";

pub async fn list(ctx: Ctx, op: ListSessions) -> Result<SessionList> {
    let user = match &op.user {
        Some(user) => Some(find_person(&ctx.app, user).await?.ok_or_else(|| Error::not_found("user"))?),
        None => None,
    };
    let filter = Filter { before: "", include_ended: op.include_ended, kind: op.kind, user };
    page(&ctx, filter, op.cursor.as_deref(), op.limit).await
}

/// The caller's own.
pub async fn list_own(ctx: Ctx, op: ListOwnSessions) -> Result<SessionList> {
    let (user, _) = login::person(&ctx)?;
    let filter = Filter { before: "", include_ended: false, kind: None, user: Some(user) };
    page(&ctx, filter, op.cursor.as_deref(), op.limit).await
}

/// Newest first; ids sort by creation, so the last one of a page is the cursor.
async fn page(ctx: &Ctx, filter: Filter<'_>, cursor: Option<&str>, limit: Option<Limit>) -> Result<SessionList> {
    let limit = limit.unwrap_or_default().rows();
    let before = match cursor {
        Some(cursor) => {
            let id: Result<SessionId, _> = cursor.parse();
            id.map_err(|_| Error::field("cursor", "not a cursor that a list answered"))?.to_string()
        }
        None => BEYOND.to_owned(),
    };
    let filter = Filter { before: &before, ..filter };
    let mut sessions = store::list(ctx.app.db.as_ref(), filter, ctx.now(), limit + 1).await?;
    let next_cursor = (sessions.len() > limit).then(|| sessions[limit - 1].id.to_string());
    sessions.truncate(limit);
    Ok(SessionList { sessions, next_cursor })
}

pub async fn end(ctx: Ctx, op: EndSession) -> Result<EndedSession> {
    if let Some(ended) = end_one(&ctx, op.id, None, "sessions.end", "ended_by_administrator").await? {
        return Ok(ended);
    }
    let session = end_with_reason(&ctx, op.id, "sessions.end", "ended_by_administrator").await?;
    let session = session.ok_or_else(|| Error::not_found("session"))?;
    let ended_at = session.ended_at.unwrap_or_else(|| ctx.now());
    let credentials_until = session.credentials_until(ctx.now()).map(Time::from_millis);
    Ok(EndedSession { id: op.id, ended_at: Time::from_millis(ended_at), credentials_until })
}

/// One of the caller's own.
pub async fn end_own(ctx: Ctx, op: EndOwnSession) -> Result<EndedSession> {
    let (user, _) = login::person(&ctx)?;
    let ended = end_one(&ctx, op.id, Some(user), "sessions.end_own", "ended_by_user").await?;
    ended.ok_or_else(|| Error::not_found("session"))
}

/// Ends a login session, of that user only if one is named: the first end stands. `None`: there is no such session.
async fn end_one(
    ctx: &Ctx,
    id: SessionId,
    of: Option<UserId>,
    action: &'static str,
    reason: &str,
) -> Result<Option<EndedSession>> {
    let Some(found) = store::find_login(ctx.app.db.as_ref(), id).await? else { return Ok(None) };
    if of.is_some_and(|user| user != found.user) {
        return Ok(None);
    }
    let now = ctx.now();
    let mut change = Change::new(action, id)
        .with([store::end_login(id, Some(found.user), reason, now)])
        .invalidates(super::invalidation(found.user))
        .detail([("reason", Some(reason.into())), ("user", Some(found.user.to_string().into()))]);
    if matches!(ctx.caller, Caller::User { session, .. } if session == id) {
        change = change.self_proving();
    }
    let ended_at = match found.ended_at {
        Some(at) => {
            // Whoever ended it may not have come to forget it.
            ctx.app.ledger.forget(&[super::invalidation(found.user)]).await;
            at
        }
        None if login::ended(ctx.app.ledger.commit(ctx, change).await)? => now,
        None => store::find_login(ctx.app.db.as_ref(), id).await?.and_then(|found| found.ended_at).unwrap_or(now),
    };
    Ok(Some(EndedSession { id, ended_at: Time::from_millis(ended_at), credentials_until: None }))
}

/// All of a user's.
pub async fn end_all(ctx: Ctx, op: EndUserSessions) -> Result<EndedSessions> {
    let user = find_person(&ctx.app, &op.id).await?.ok_or_else(|| Error::not_found("user"))?;
    let reason = "ended_by_administrator";
    let change = Change::new("sessions.end_all", user)
        .with([store::end_all(user, None, reason, ctx.now())])
        .invalidates(super::invalidation(user))
        .detail([("reason", Some(reason.into()))]);
    let committed = ctx.app.ledger.commit(&ctx, change).await?;
    Ok(EndedSessions { ended: committed.affected(store::ENDED) })
}

/// Ends a session, if it has not ended before: then the first time and reason stand. Answers it as it was before,
/// with its end; `None` when there is no such session.
pub async fn end_with_reason(
    ctx: &Ctx,
    id: SessionId,
    action: &'static str,
    reason: &str,
) -> Result<Option<DeviceSession>> {
    let db = ctx.app.db.as_ref();
    let Some(mut session) = store::find(db, id).await? else { return Ok(None) };
    if session.ended_at.is_some() {
        return Ok(Some(session));
    }
    let now = ctx.now();
    let change = Change::new(action, id).with([store::end(id, reason, now)]).detail([
        ("reason", Some(reason.into())),
        ("user", Some(session.attributes.identity.display().into())),
        ("device", session.device_name.clone().map(Into::into)),
    ]);
    match ctx.app.ledger.commit(ctx, change).await {
        Ok(_) => {
            let (app, before) = (ctx.app.clone(), session.clone());
            tokio::spawn(async move { cli_login::forget_at_provider(&app, &before).await });
            session.ended_at = Some(now);
            session.end_reason = Some(reason.to_owned());
            Ok(Some(session))
        }
        // Somebody else was first.
        Err(Refused::ExpectationFailed(store::ENDED)) => store::find(db, id).await,
        Err(refused) => Err(refused.into()),
    }
}
