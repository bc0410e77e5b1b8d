//! List and end sessions.

use shared::api::sessions::{EndSession, EndedSession, ListSessions, SessionList};
use shared::id::SessionId;
use shared::time::Time;

use super::model::DeviceSession;
use super::store;
use crate::app::Ctx;
use crate::audit;
use crate::cli_login;
use crate::db::DbError;
use crate::error::{Error, Result};

/// After every id, which is of lower-case hexadecimal digits: a letter, since databases disagree on where signs sort.
const BEYOND: &str = "g";

/// Newest first; ids sort by creation, so the last one of a page is the cursor.
pub async fn list(ctx: Ctx, op: ListSessions) -> Result<SessionList> {
    let limit = op.limit.unwrap_or_default().rows();
    let before = match &op.cursor {
        Some(cursor) => {
            let id: Result<SessionId, _> = cursor.parse();
            id.map_err(|_| Error::field("cursor", "not a cursor that a list answered"))?.to_string()
        }
        None => BEYOND.to_owned(),
    };
    let db = ctx.app.db.as_ref();
    let mut sessions = store::list(db, &before, op.include_ended, ctx.now(), limit + 1).await?;
    let next_cursor = (sessions.len() > limit).then(|| sessions[limit - 1].id.to_string());
    sessions.truncate(limit);
    Ok(SessionList { sessions: sessions.into_iter().map(DeviceSession::describe).collect(), next_cursor })
}

pub async fn end(ctx: Ctx, op: EndSession) -> Result<EndedSession> {
    let session = end_with_reason(&ctx, op.id, "sessions.end", "ended_by_administrator").await?;
    let session = session.ok_or_else(|| Error::not_found("session"))?;
    let ended_at = session.ended_at.unwrap_or_else(|| ctx.now());
    let credentials_until = session.credentials_until(ctx.now()).map(Time::from_millis);
    Ok(EndedSession { id: op.id, ended_at: Time::from_millis(ended_at), credentials_until })
}

/// Ends a session, if it has not ended before: then the first time and reason stand. Answers it as it was before,
/// with its end; `None` when there is no such session.
pub async fn end_with_reason(ctx: &Ctx, id: SessionId, action: &str, reason: &str) -> Result<Option<DeviceSession>> {
    let db = ctx.app.db.as_ref();
    let Some(mut session) = store::find(db, id).await? else { return Ok(None) };
    if session.ended_at.is_some() {
        return Ok(Some(session));
    }
    let now = ctx.now();
    let detail = audit::detail([
        ("reason", Some(reason.into())),
        ("user", Some(session.attributes.identity.display().into())),
        ("device", session.device_name.clone().map(Into::into)),
    ]);
    let batch = vec![store::end(id, reason, now), audit::row(ctx, action, Some(&id.to_string()), detail)];
    match db.commit(batch).await {
        Ok(_) => {
            let (app, before) = (ctx.app.clone(), session.clone());
            tokio::spawn(async move { cli_login::forget_at_provider(&app, &before).await });
            session.ended_at = Some(now);
            session.end_reason = Some(reason.to_owned());
            Ok(Some(session))
        }
        // Somebody else was first.
        Err(DbError::Unmet(0)) => store::find(db, id).await,
        Err(error) => Err(error.into()),
    }
}
