//! Login sessions as every check sees them: looked up by the hash of their token, cached, and renewed now and then.
//!
//! A session slides: its idle end is pushed back by one conditional update, at most once in the renewal threshold and
//! never past the absolute maximum. Of many checks at the same time one renews; the others answer by its row.

use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use shared::api::sessions::Payload;
use shared::id::{SessionId, UserId};
use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};
use tracing::warn;

use super::cache::Lives;
use super::{INVALIDATION, store};
use crate::app::App;
use crate::cache::{CacheTrust, Guarded, Hash, clock};
use crate::config::Config;
use crate::db::{BoxFuture, Db, DbError};
use crate::error::{Error, Result};
use crate::ledger::Subscriber;
use crate::world::{Millis, SECOND};

/// Bytes of cached sessions: more than 300,000 of them, with names of the usual length.
const CACHE_BYTES: u64 = 64 << 20;
/// Look-ups and renewals of one session wait for one another.
const LANES: usize = 256;
/// Different sessions that are read or renewed at the same time, at most: a flood of unknown tokens leaves the
/// database to others.
const TURNS: usize = 64;
/// How long a check waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// A session's token is this many lower-case hexadecimal digits.
pub const TOKEN_LENGTH: usize = 64;

/// Whether the text has the form of a session's token; anything else is none, without a look-up.
pub fn is_token(text: &str) -> bool {
    text.len() == TOKEN_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What is stored of a session's token.
pub fn hash(token: &str) -> Hash {
    Sha256::digest(token).into()
}

/// A live login session with its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    pub id: SessionId,
    pub user_id: UserId,
    /// `"username":"…","name":"…"`, ready to be sent.
    pub names_json: Box<[u8]>,
    /// Where the username ends in it, quotes included.
    pub(super) username_end: u16,
    pub created_at: Millis,
    pub renewed_at: Millis,
    pub idle_expires_at: Millis,
    pub absolute_expires_at: Millis,
    pub(super) read_at: u32,
}

/// What stands before the username in [`Live::names_json`].
const USERNAME: usize = "\"username\":".len();

impl Live {
    #[expect(clippy::too_many_arguments, reason = "a row of the database, column by column")]
    pub(crate) fn new(
        id: SessionId,
        user_id: UserId,
        username: &str,
        name: &str,
        created_at: Millis,
        renewed_at: Millis,
        idle_expires_at: Millis,
        absolute_expires_at: Millis,
        now: Millis,
    ) -> Self {
        let json = |text: &str| serde_json::Value::from(text).to_string();
        let mut names_json = format!("\"username\":{}", json(username));
        // Names are bounded to a few hundred bytes.
        let username_end = u16::try_from(names_json.len()).unwrap_or(u16::MAX);
        names_json.extend([",\"name\":", &json(name)]);
        Self {
            id,
            user_id,
            names_json: names_json.into_bytes().into(),
            username_end,
            created_at,
            renewed_at,
            idle_expires_at,
            absolute_expires_at,
            read_at: clock(now),
        }
    }

    /// When it ends by itself, as things are.
    pub fn expires_at(&self) -> Millis {
        self.idle_expires_at.min(self.absolute_expires_at)
    }

    /// The same in the API's epoch seconds.
    pub fn expires_at_seconds(&self) -> i64 {
        super::model::seconds(self.expires_at())
    }

    /// The username as JSON, quotes included.
    pub fn username_json(&self) -> &[u8] {
        self.names_json.get(USERNAME..usize::from(self.username_end)).unwrap_or_default()
    }

    pub fn username(&self) -> Result<String> {
        serde_json::from_slice(self.username_json()).map_err(Error::internal)
    }

    pub fn payload(&self) -> Result<Payload> {
        #[derive(Deserialize)]
        struct Names {
            username: String,
            name: String,
        }
        let Names { username, name } =
            serde_json::from_slice(&[b"{", &*self.names_json, b"}"].concat()).map_err(Error::internal)?;
        Ok(Payload { user_id: self.user_id, username, name, service_id: None, roles: None, permissions: None })
    }
}

/// How long login sessions live.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub idle: Millis,
    pub threshold: Millis,
    pub max: Millis,
}

/// The room's state.
#[derive(Debug)]
pub struct Sessions {
    pub limits: Limits,
    cache: Guarded<Lives>,
    lanes: Box<[Mutex<()>]>,
    turns: Semaphore,
}

impl Sessions {
    pub fn new(config: &Config, trust: CacheTrust) -> Self {
        let seconds = |seconds: u32| Millis::from(seconds) * SECOND;
        Self {
            limits: Limits {
                idle: seconds(config.sessions.ttl_seconds),
                threshold: seconds(config.sessions.renew_threshold_seconds),
                max: seconds(config.sessions.max_seconds),
            },
            cache: Guarded::on(Lives::new(CACHE_BYTES), trust),
            lanes: (0..LANES).map(|_| Mutex::new(())).collect(),
            turns: Semaphore::new(TURNS),
        }
    }

    /// The session, if it is known without the database and need not be renewed.
    pub fn cached(&self, hash: &Hash, now: Millis) -> Option<Live> {
        let live = self.cache.find(hash, now)?;
        (now < live.expires_at() && !self.is_due(&live, now)).then_some(live)
    }

    /// The live session of a token; `None`: there is none, it has ended, or it has expired.
    pub async fn find(&self, app: &App, token: &str) -> Result<Option<Live>> {
        if !is_token(token) {
            return Ok(None);
        }
        let hash = hash(token);
        // One that has expired may have been renewed by a commit whose outcome came late: the row tells.
        let cached = || self.cache.find(&hash, app.world.now()).filter(|live| app.world.now() < live.expires_at());
        if let Some(live) = cached() {
            return Ok(Some(live));
        }
        let _turn = self.turn(&hash).await?;
        match cached() {
            Some(live) => Ok(Some(live)),
            None => self.load(app, &hash).await,
        }
    }

    /// As [`Sessions::find`], and renews it when it is time. The second value says that this very call did.
    pub async fn touch(&self, app: &App, token: &str) -> Result<Option<(Live, bool)>> {
        let Some(live) = self.find(app, token).await? else { return Ok(None) };
        if !self.is_due(&live, app.world.now()) {
            return Ok(Some((live, false)));
        }
        let hash = hash(token);
        let _turn = self.turn(&hash).await?;
        let live = match self.cache.find(&hash, app.world.now()) {
            Some(live) => live,
            None => match self.load(app, &hash).await? {
                Some(live) => live,
                None => return Ok(None),
            },
        };
        let now = app.world.now();
        if now >= live.expires_at() {
            return Ok(None);
        }
        if !self.is_due(&live, now) {
            return Ok(Some((live, false)));
        }
        match app.db.commit(vec![store::slide(&live, now, self.idle_end(&live, now))]).await {
            // Renewed by us, or another node was first, or it has ended: the row tells.
            Ok(_) => {
                self.cache.forget(&hash);
                Ok(self.load(app, &hash).await?.map(|live| (live, true)))
            }
            Err(DbError::ExpectationFailed(_)) => {
                self.cache.forget(&hash);
                Ok(self.load(app, &hash).await?.map(|live| (live, false)))
            }
            // Still good until its end: that it could not be pushed back now is no reason to turn anybody away.
            Err(error) if error.is_unavailable() => {
                warn!(%error, session = %live.id, "a session could not be renewed; the next check tries again");
                Ok(Some((live, false)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn load(&self, app: &App, hash: &Hash) -> Result<Option<Live>> {
        let stamp = self.cache.stamp(hash);
        let now = app.world.now();
        let live = store::find_live(app.db.as_ref(), hash, now).await?;
        if live.is_some() {
            self.cache.refill(stamp, *hash, live.as_ref());
        }
        Ok(live)
    }

    /// Whether it was renewed long enough ago, and can be.
    fn is_due(&self, live: &Live, now: Millis) -> bool {
        now >= live.renewed_at + self.limits.threshold && self.idle_end(live, now) > live.idle_expires_at
    }

    fn idle_end(&self, live: &Live, now: Millis) -> Millis {
        (now + self.limits.idle).min(live.absolute_expires_at)
    }

    async fn turn(&self, hash: &Hash) -> Result<(MutexGuard<'_, ()>, SemaphorePermit<'_>)> {
        let busy = |why: &str| Error::unavailable("too many sessions are being looked up; try again", why.to_owned());
        let lane = &self.lanes[usize::from(hash[1]) % self.lanes.len()];
        let turn = async { (lane.lock().await, self.turns.acquire().await) };
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok((lane, Ok(turn))) => Ok((lane, turn)),
            Ok((_, Err(_))) => Err(busy("the daemon is ending")),
            Err(_) => Err(busy("no turn to read in time")),
        }
    }
}

impl Subscriber for Sessions {
    fn kind(&self) -> &'static str {
        INVALIDATION
    }

    /// Forgets every session of a user.
    fn forget<'a>(&'a self, db: &'a dyn Db, now: Millis, subject: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Ok(user) = subject.parse() else { return self.cache.forget_all() };
            match store::list_hashes(db, user, now).await {
                Ok(hashes) => hashes.iter().for_each(|hash| self.cache.forget(hash)),
                Err(_) => self.cache.forget_all(),
            }
        })
    }

    fn forget_all(&self) {
        self.cache.forget_all();
    }
}
