//! Sessions of people for checks: looked up by the hash of their token, cached, and renewed periodically.
//!
//! Use extends a session: one conditional update moves its idle end, at most once per renewal threshold and never past
//! the absolute maximum. Of concurrent checks one renews; the others use its row.

use sha2::{Digest, Sha256};
use shared::api::sessions::SessionKind;
use shared::id::{SessionId, UserId};

use super::signed::{Presented, hash_of};
use super::{Sessions, model, store};
use crate::cache::{Cached, Hash};
use crate::db::{BoxFuture, Db, DbError};
use crate::env::{Millis, SKEW};
use crate::error::Result;
use crate::ledger::{SESSIONS, Subscriber};
use crate::log::caused;

/// The number of lower-case hexadecimal digits in a session token.
pub const TOKEN_LENGTH: usize = 64;

/// Whether the text has the form of a session token that is not signed.
pub fn is_opaque(text: &str) -> bool {
    text.len() == TOKEN_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The stored hash of a session token.
pub fn hash(token: &str) -> Hash {
    Sha256::digest(token).into()
}

/// A live login session with its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSession {
    pub id: SessionId,
    pub user_id: UserId,
    pub username: Box<str>,
    pub name: Box<str>,
    pub created_at: Millis,
    pub renewed_at: Millis,
    pub idle_expires_at: Millis,
    pub absolute_expires_at: Millis,
    /// Not a device.
    pub kind: SessionKind,
    /// Whether the person had a permission of authd at sign-in.
    pub is_operator: bool,
}

/// A login session that is cached or was just read.
pub type Found = Cached<LiveSession>;

impl LiveSession {
    /// When it expires unless it is renewed.
    pub fn expires_at(&self) -> Millis {
        self.idle_expires_at.min(self.absolute_expires_at)
    }

    /// Whether it is live. One that was renewed in the future has an end that a wrong clock has set.
    fn is_live(&self, now: Millis) -> bool {
        now < self.expires_at() && self.renewed_at <= now + SKEW
    }

    /// The same in the API's epoch seconds.
    pub fn expires_at_seconds(&self) -> i64 {
        model::seconds(self.expires_at())
    }
}

impl Sessions {
    /// The cached session, if there is one that need not be renewed.
    pub fn recall(&self, token: &str) -> Option<Found> {
        let now = self.base.now();
        let live = self.cache.find(&hash(token), now)?;
        (live.is_live(now) && !self.is_due(&live, now)).then_some(live)
    }

    /// The live session of a token; `None` if it is unknown, ended or expired.
    pub async fn find(&self, token: &str) -> Result<Option<Found>> {
        let Some(presented) = Presented::new(token) else { return Ok(None) };
        self.find_presented(presented).await
    }

    async fn find_presented(&self, presented: Presented<'_>) -> Result<Option<Found>> {
        let Some(live) = self.find_live(presented).await? else { return Ok(None) };
        Ok(self.verifies(presented).await?.then_some(live))
    }

    async fn find_live(&self, presented: Presented<'_>) -> Result<Option<Found>> {
        let (hash, now) = (presented.hash(), self.base.now());
        match self.cache.find(&hash, now) {
            Some(live) if live.is_live(now) => return Ok(Some(live)),
            // A commit with a late outcome may have renewed it: the row is read again.
            Some(_) => self.cache.forget(&hash),
            None => {}
        }
        self.cache.get_or_read(hash, &self.base.env, self.read(presented)).await
    }

    /// Like [`Sessions::find`], and renews it if it is due. The second value is whether this call renewed it.
    pub async fn touch(&self, token: &str) -> Result<Option<(Found, bool)>> {
        let Some(presented) = Presented::new(token) else { return Ok(None) };
        let Some(live) = self.find_presented(presented).await? else { return Ok(None) };
        if !self.is_due(&live, self.base.now()) {
            return Ok(Some((live, false)));
        }
        let hash = presented.hash();
        let _turn = self.cache.turn(hash).await?;
        let reread = || self.cache.get_or_read_in_turn(hash, &self.base.env, self.read(presented));
        let Some(live) = reread().await? else { return Ok(None) };
        let now = self.base.now();
        if !live.is_live(now) {
            return Ok(None);
        }
        if !self.is_due(&live, now) {
            return Ok(Some((live, false)));
        }
        let slide = store::slide(&live, now, self.idle_end(&live, now));
        let is_renewed = match self.base.db.commit(vec![slide]).await {
            Ok(_) => true,
            // Another node was first, or it has ended: the row is read again.
            Err(DbError::ExpectationFailed(_)) => false,
            // The session is still valid until its end, so a failed renewal is no reason to refuse it.
            Err(error) if error.is_unavailable() => {
                caused!(None, warn, %error, session = %live.id, "a session could not be renewed; the next check tries again");
                return Ok(Some((live, false)));
            }
            Err(error) => return Err(error.into()),
        };
        self.cache.forget(&hash);
        Ok(reread().await?.map(|live| (live, is_renewed)))
    }

    async fn read(&self, presented: Presented<'_>) -> Result<Option<LiveSession>> {
        let (db, now) = (self.base.db.as_ref(), self.base.now());
        match presented {
            Presented::Opaque(hash) => store::find_live(db, &hash, now).await,
            Presented::Signed(id, _) => store::find_live_by_id(db, id, now).await,
        }
    }

    /// Whether it is due for renewal and can be renewed.
    fn is_due(&self, live: &LiveSession, now: Millis) -> bool {
        now >= live.renewed_at + self.limits(live.kind, live.is_operator).threshold
            && self.idle_end(live, now) > live.idle_expires_at
    }

    fn idle_end(&self, live: &LiveSession, now: Millis) -> Millis {
        (now + self.limits(live.kind, live.is_operator).idle).min(live.absolute_expires_at)
    }
}

impl Subscriber for Sessions {
    fn kind(&self) -> &'static str {
        SESSIONS
    }

    /// Removes every session of a user from the cache.
    fn forget<'a>(&'a self, db: &'a dyn Db, now: Millis, subject: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Ok(user) = subject.parse() else { return self.cache.forget_all() };
            match store::list_hashes(db, user, now).await {
                Ok(hashes) => hashes.iter().for_each(|(hash, id)| {
                    self.cache.forget(hash);
                    self.cache.forget(&hash_of(*id));
                }),
                Err(_) => self.cache.forget_all(),
            }
        })
    }

    fn forget_all(&self) {
        self.cache.forget_all();
    }
}
