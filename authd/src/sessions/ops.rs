//! List and end sessions.

use shared::api::sessions::{
    EndOwnSession, EndOwnSessions, EndSession, EndThisSession, EndUserSessions, EndedSession, EndedSessions, Identity,
    ListOwnSessions, ListSessions, LoggedOut, Logout, Payload, Profile, Session, SessionList, ShowProfile, ShowSession,
    WhoAmI,
};
use shared::id::{SessionId, UserId};
use shared::op::Operation;
use shared::problem::Code;
use shared::time::Time;

use super::Sessions;
use super::model::{self, DeviceSession};
use super::store;
use crate::call::Call;
use crate::caller::Caller;
use crate::db::Committed;
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::page::Page;
use crate::tokens::model::check_within;

const BY_ADMINISTRATOR: &str = "ended_by_administrator";

impl Sessions {
    pub(super) async fn whoami(&self, call: Call, _: WhoAmI) -> Result<Identity> {
        let (mut user, mut service_id) = (None, None);
        match &call.caller {
            Caller::User { id, username, .. } => {
                let name = self.users.find_name(*id).await?.unwrap_or_default();
                user = Some(payload(*id, username.clone(), name));
            }
            Caller::Service { service, .. } => service_id = Some(*service),
            _ => {}
        }
        let permissions = call.caller.permissions().iter().map(|permission| permission.as_str().to_owned()).collect();
        Ok(Identity { caller: call.caller.to_string(), user, service_id, permissions })
    }

    pub(super) async fn show(&self, call: Call, _: ShowSession) -> Result<Session> {
        let (_, session) = person(&call)?;
        store::show(self.base.db.as_ref(), session).await?.ok_or_else(|| Error::not_found("session"))
    }

    /// The OpenID provider with which the person signed in to this session.
    pub async fn provider_of(&self, call: &Call) -> Result<Option<String>> {
        let (_, session) = person(call)?;
        Ok(store::show(self.base.db.as_ref(), session).await?.and_then(|session| session.provider))
    }

    pub async fn logout(&self, call: Call, _: Logout) -> Result<LoggedOut> {
        let (user, session) = person(&call)?;
        let end = store::end_login(session, user, "logged_out", self.base.now());
        let change = Change::new(Logout::INFO.name, session)
            .with([end])
            .invalidates(Invalidation::sessions(user))
            .urgent()
            .self_proving();
        ended(self.base.ledger.commit(&call, change).await)?;
        Ok(LoggedOut { status: "logged_out".to_owned() })
    }

    /// [`Sessions::logout`] by another path; the audit log has it as that.
    pub(super) async fn end_this(&self, call: Call, _: EndThisSession) -> Result<LoggedOut> {
        self.logout(call, Logout {}).await
    }

    pub(super) async fn profile(&self, _: Call, op: ShowProfile) -> Result<Profile> {
        let ended = || Error::new(Code::InvalidToken, "the session has ended; sign in again");
        let token = op.header_token.or(op.bearer).ok_or_else(ended)?;
        let (live, renewed) = self.touch(token.expose()).await?.ok_or_else(ended)?;
        let payload = payload(live.user_id, live.username.to_string(), live.name.to_string());
        Ok(Profile { payload, renewed, expires_at: live.expires_at_seconds() })
    }

    /// Whether the person proved all factors in this session a short time ago. Read from the database each time, since
    /// another node may have renewed the proof.
    pub async fn is_fresh(&self, session: SessionId) -> Result<bool> {
        Ok(model::is_fresh(self.proved_at(session).await?, self.base.now()))
    }

    /// When the person last proved all factors in this session.
    pub async fn proved_at(&self, session: SessionId) -> Result<Option<Millis>> {
        store::find_factor_at(self.base.db.as_ref(), session).await
    }

    pub(super) async fn list(&self, _: Call, mut op: ListSessions) -> Result<SessionList> {
        check_within(op.expires_within)?;
        // What has ended does not end soon.
        op.include_ended &= op.expires_within.is_none();
        let user = match &op.user {
            Some(user) => Some(self.users.find_id(user).await?.ok_or_else(|| Error::not_found("user"))?),
            None => None,
        };
        self.page(&op, user).await
    }

    pub async fn list_own(&self, call: Call, op: ListOwnSessions) -> Result<SessionList> {
        let (user, _) = person(&call)?;
        let ListOwnSessions { limit, cursor } = op;
        self.page(&ListSessions { limit, cursor, ..ListSessions::default() }, Some(user)).await
    }

    /// Newest first; ids sort by creation, so the last one of a page is the cursor.
    async fn page(&self, op: &ListSessions, user: Option<UserId>) -> Result<SessionList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let sessions = store::list(self.base.db.as_ref(), op, user, &page, self.base.now()).await?;
        let (sessions, next_cursor) = page.cut(sessions, |session| session.id);
        Ok(SessionList { sessions, next_cursor })
    }

    pub(super) async fn end(&self, call: Call, op: EndSession) -> Result<EndedSession> {
        if let Some(ended) = self.end_one(&call, op.id, None, EndSession::INFO.name, BY_ADMINISTRATOR).await? {
            return Ok(ended);
        }
        self.end_device_by_id(&call, op.id, EndSession::INFO.name, BY_ADMINISTRATOR).await
    }

    /// Ends a device session, and tells until when its credentials are valid.
    async fn end_device_by_id(
        &self,
        call: &Call,
        id: SessionId,
        action: &'static str,
        reason: &str,
    ) -> Result<EndedSession> {
        let ended = self.end_device(call, id, action, reason).await?;
        let session = ended.ok_or_else(|| Error::not_found("session"))?;
        let now = self.base.now();
        let credentials_until = session.credentials_until(now).map(Time::from_millis);
        let ended_at = Time::from_millis(session.ended_at.unwrap_or(now));
        Ok(EndedSession { id, ended_at, credentials_until })
    }

    pub async fn end_own(&self, call: Call, op: EndOwnSession) -> Result<EndedSession> {
        let (user, _) = person(&call)?;
        let (action, reason) = (EndOwnSession::INFO.name, "ended_by_user");
        if let Some(ended) = self.end_one(&call, op.id, Some(user), action, reason).await? {
            return Ok(ended);
        }
        let device = store::find(self.base.db.as_ref(), op.id).await?;
        if device.is_none_or(|device| device.user != Some(user)) {
            return Err(Error::not_found("session"));
        }
        self.end_device_by_id(&call, op.id, action, reason).await
    }

    pub async fn end_all_own(&self, call: Call, _: EndOwnSessions) -> Result<EndedSessions> {
        let (user, _) = person(&call)?;
        let ended = self.end_sessions(&call, user, EndOwnSessions::INFO.name, "ended_by_user").await?;
        Ok(EndedSessions { ended })
    }

    /// Ends a login session, only of that user if one is given; the first end is kept. `None` if there is none.
    async fn end_one(
        &self,
        call: &Call,
        id: SessionId,
        of: Option<UserId>,
        action: &'static str,
        reason: &str,
    ) -> Result<Option<EndedSession>> {
        let (db, ledger) = (self.base.db.as_ref(), &self.base.ledger);
        let Some((user, ended_at)) = store::find_login(db, id).await? else { return Ok(None) };
        if of.is_some_and(|of| of != user) {
            return Ok(None);
        }
        let now = self.base.now();
        let ended_at = match ended_at {
            Some(at) => {
                // The call that ended it may not have invalidated the cache yet.
                ledger.forget(&[Invalidation::sessions(user)]).await;
                at
            }
            None if self.end_login(call, id, user, action, reason).await? => now,
            None => store::find_login(db, id).await?.and_then(|(_, ended_at)| ended_at).unwrap_or(now),
        };
        Ok(Some(EndedSession { id, ended_at: Time::from_millis(ended_at), credentials_until: None }))
    }

    /// Ends a login session with an operation as the audit action. False if it had ended before.
    pub async fn end_login(
        &self,
        call: &Call,
        id: SessionId,
        user: UserId,
        action: &'static str,
        reason: &str,
    ) -> Result<bool> {
        let mut change = Change::new(action, id)
            .with([store::end_login(id, user, reason, self.base.now())])
            .invalidates(Invalidation::sessions(user))
            .detail([("reason", Some(reason.into())), ("user", Some(user.to_string().into()))])
            .urgent();
        if matches!(call.caller, Caller::User { session, .. } if session == id) {
            change = change.self_proving();
        }
        ended(self.base.ledger.commit(call, change).await)
    }

    pub(super) async fn end_all(&self, call: Call, op: EndUserSessions) -> Result<EndedSessions> {
        let user = self.users.find_id(&op.id).await?.ok_or_else(|| Error::not_found("user"))?;
        let ended = self.end_sessions(&call, user, EndUserSessions::INFO.name, BY_ADMINISTRATOR).await?;
        Ok(EndedSessions { ended })
    }

    /// Ends every session of a user; returns their number.
    async fn end_sessions(&self, call: &Call, user: UserId, action: &'static str, reason: &str) -> Result<u64> {
        let change = Change::new(action, user)
            .with([store::end_all(user, None, reason, self.base.now())])
            .invalidates(Invalidation::sessions(user))
            .detail([("reason", Some(reason.into()))])
            .urgent();
        Ok(self.base.ledger.commit(call, change).await?.affected(store::ENDED))
    }

    /// Ends a device session; if it had ended before, the first time and reason are kept. Returns its former state with
    /// its end; `None` if there is no such session. The provider of its tokens is informed through the outbox.
    pub async fn end_device(
        &self,
        call: &Call,
        id: SessionId,
        action: &'static str,
        reason: &str,
    ) -> Result<Option<DeviceSession>> {
        let db = self.base.db.as_ref();
        let Some(mut session) = store::find(db, id).await? else { return Ok(None) };
        if session.ended_at.is_some() {
            return Ok(Some(session));
        }
        let now = self.base.now();
        let change = Change::new(action, id).urgent().with(store::end(id, reason, now)).detail([
            ("reason", Some(reason.into())),
            ("user", Some(session.attributes.identity.display().into())),
            ("device", session.device_name.clone().map(Into::into)),
        ]);
        match self.base.ledger.commit(call, change).await {
            Ok(_) => {
                self.device_ended.notify_one();
                session.ended_at = Some(now);
                Ok(Some(session))
            }
            // Another call was first.
            Err(Refused::ExpectationFailed(store::ENDED)) => store::find(db, id).await,
            Err(refused) => Err(refused.into()),
        }
    }
}

fn payload(user_id: UserId, username: String, name: String) -> Payload {
    Payload { user_id, username, name, service_id: None, roles: None, permissions: None }
}

/// The session and the user of a caller who is a person.
pub fn person(call: &Call) -> Result<(UserId, SessionId)> {
    match call.caller {
        Caller::User { id, session, .. } => Ok((id, session)),
        _ => Err(Error::new(Code::Forbidden, "this is only for people, with their session")),
    }
}

/// Whether a session was ended.
fn ended(committed: Result<Committed, Refused>) -> Result<bool> {
    match committed {
        Ok(_) => Ok(true),
        Err(Refused::ExpectationFailed(store::ENDED)) => Ok(false),
        Err(refused) => Err(refused.into()),
    }
}
