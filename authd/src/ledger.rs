//! The ledger, through which every change is committed: [`Ledger::commit`].
//!
//! For every change, it adds the proof that the caller may still do this, the audit row and the invalidation rows to
//! the batch, commits, and removes the invalidated values from this node's caches before the change is answered. It
//! follows each batch to its end, even after the caller stopped waiting, so that no cache keeps values that a stalled
//! disk changed after its caller got a 503.
//!
//! Only these write without the ledger: last-used marks, sliding renewals, the acknowledgement of a refresh token, hash
//! upgrades (each is a hint, or conditional on the row that it changes); attempt counters and refusal rows (their
//! caller has no authority to prove); leases and stored provider tokens (of a renewal, which ends in a change); updates
//! of outbox rows (the end that they report is committed); reservations of uploads and claims of what they left (nobody
//! sees an object without a file); the seed and the key ring (there is no caller yet); sweeps
//! (the rows are already invisible); health (a counter of its own); `ephemeral` (its loss is allowed).

mod audit_row;

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::{Map, Value as Json};
use shared::id::{TokenId, UserId};
use shared::op::Permission;
use shared::problem::Code;
use tokio::runtime::Handle;

use crate::authority;
use crate::cache::CacheTrust;
use crate::call::Call;
use crate::caller::Caller;
use crate::db::{Batch, BoxFuture, Committed, Db, DbError, LostCommit, Row, Statement, Urgency};
use crate::env::{Env, Millis};
use crate::error::Error;

/// The name of the statement that writes the audit row of a change.
pub const AUDIT_ROW: &str = "audit";

/// How often a change is authorized and tried again while the caller's permissions keep changing.
pub const TRIES: usize = 8;

/// Pauses between queries for the outcome of a lost commit: the first, doubled up to the longest.
const SETTLE_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The cached values that every node must remove after a change. The kinds and subjects are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// One subject of a kind. The ledger writes its row.
    One(&'static str, String),
    /// The subjects of a kind that a statement of the batch returns, one a row. The batch writes their rows itself.
    Returned(&'static str, &'static str),
}

/// The kinds of invalidations.
pub const TOKEN: &str = "token";
pub const SESSIONS: &str = "sessions";
pub const ACCESS: &str = "access";

impl Invalidation {
    /// An API token has changed.
    pub fn token(id: TokenId) -> Self {
        Self::One(TOKEN, id.to_string())
    }

    /// The sessions of a user have changed, or the user's data in them.
    pub fn sessions(user: UserId) -> Self {
        Self::One(SESSIONS, user.to_string())
    }

    /// People or access have changed. The subject is the id of what changed.
    pub fn access(subject: impl ToString) -> Self {
        Self::One(ACCESS, subject.to_string())
    }

    /// The cached values of a caller.
    fn of_caller(caller: &Caller) -> Vec<Self> {
        match caller {
            Caller::Token { id, .. } => vec![Self::token(*id)],
            Caller::Service { token, service, .. } => vec![Self::token(*token), Self::access(service)],
            Caller::User { id, .. } => vec![Self::sessions(*id), Self::access(id)],
            Caller::Anonymous | Caller::AdminToken | Caller::Peer { .. } | Caller::Device { .. } | Caller::System => {
                Vec::new()
            }
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::One(kind, _) | Self::Returned(kind, _) => kind,
        }
    }

    /// The statement that informs other nodes.
    pub fn row(&self, now: Millis) -> Option<Statement> {
        let Self::One(kind, subject) = self else { return None };
        Some(Statement::one(
            "invalidate",
            "INSERT INTO invalidations (kind, subject, at) VALUES ($1, $2, $3)",
            [(*kind).into(), subject.as_str().into(), now.into()],
        ))
    }
}

/// A module that caches values that others may change.
pub trait Subscriber: Send + Sync {
    /// The kind of invalidation that it subscribes to.
    fn kind(&self) -> &'static str;

    /// Removes the cached values of a subject that was changed at `now`: after this returns, no answer uses the old
    /// values.
    fn forget<'a>(&'a self, db: &'a dyn Db, now: Millis, subject: &'a str) -> BoxFuture<'a, ()>;

    fn forget_all(&self);
}

/// A change to commit.
#[derive(Debug, Default)]
#[must_use]
pub struct Change {
    batch: Batch,
    invalidates: Vec<Invalidation>,
    action: &'static str,
    subject: String,
    detail: Map<String, Json>,
    requires: Vec<Permission>,
    is_self_proving: bool,
    urgency: Urgency,
    outcome: Option<&'static str>,
}

impl Change {
    /// A change with its operation as the audit action. `subject` is the id of the changed object.
    pub fn new(action: &'static str, subject: impl ToString) -> Self {
        Self { action, subject: subject.to_string(), ..Self::default() }
    }

    /// The outcome in the audit row, if it is not `ok`: what somebody without credentials has only asked for is kept as
    /// long as refusals.
    pub fn outcome(self, outcome: &'static str) -> Self {
        Self { outcome: Some(outcome), ..self }
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Adds details to the audit row; no secrets.
    pub fn detail<const N: usize>(mut self, pairs: [(&str, Option<Json>); N]) -> Self {
        self.detail = audit_row::detail(pairs);
        self
    }

    pub fn with(mut self, statements: impl IntoIterator<Item = Statement>) -> Self {
        self.batch.extend(statements);
        self
    }

    pub fn invalidates(mut self, invalidation: Invalidation) -> Self {
        self.invalidates.push(invalidation);
        self
    }

    /// Requires these permissions at the commit too, besides that of the operation.
    pub fn requires(mut self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        self.requires.extend(permissions);
        self
    }

    /// The change takes access away, and nothing else: on a full disk it may use the space that is kept for this.
    pub fn urgent(self) -> Self {
        Self { urgency: Urgency::Urgent, ..self }
    }

    /// [`Change::urgent`] if the request asks for no more than that.
    pub fn urgent_if(self, takes_access: bool) -> Self {
        if takes_access { self.urgent() } else { self }
    }

    /// The change needs no proof: the caller ends their own session or token, or the batch checks the caller.
    pub fn self_proving(mut self) -> Self {
        self.is_self_proving = true;
        self
    }
}

/// Why a change was not committed.
#[derive(Debug)]
pub enum Refused {
    /// The expectation of the statement of this name was not met.
    ExpectationFailed(&'static str),
    /// The statement of this name violates a unique constraint.
    Duplicate(&'static str),
    Other(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::ExpectationFailed(name) => DbError::ExpectationFailed(name).into(),
            Refused::Duplicate(name) => DbError::Duplicate(name).into(),
            Refused::Other(error) => error,
        }
    }
}

/// A commit that continues on a separate task when its caller stops waiting. A task from the start would cost every
/// change two more hand-overs between threads.
struct Outliving(Option<BoxFuture<'static, Result<Committed, DbError>>>);

impl Future for Outliving {
    type Output = Result<Committed, DbError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(running) = &mut self.0 else { return Poll::Pending };
        let polled = running.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl Drop for Outliving {
    fn drop(&mut self) {
        if let (Some(running), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(running);
        }
    }
}

/// The caller's authority changed before the commit. Detected by [`is_overtaken`].
#[derive(Debug, thiserror::Error)]
#[error("the caller's authority changed before the commit")]
struct Overtaken;

/// Whether to authenticate and authorize the caller again and repeat the call: see [`TRIES`].
pub fn is_overtaken(error: &Error) -> bool {
    error.source.as_ref().is_some_and(|source| source.is::<Overtaken>())
}

#[derive(Debug)]
pub struct Ledger {
    db: Arc<dyn Db>,
    env: Env,
    trust: CacheTrust,
    /// Weak, since each of them has a reference to the ledger.
    subscribers: RwLock<Vec<Weak<dyn Subscriber>>>,
}

impl Ledger {
    pub fn new(db: Arc<dyn Db>, env: Env, trust: CacheTrust) -> Self {
        Self { db, env, trust, subscribers: RwLock::default() }
    }

    /// The shared switch of the subscribers' caches.
    pub fn trust(&self) -> CacheTrust {
        self.trust.clone()
    }

    /// Subscribes a module to invalidations.
    pub fn subscribe<S: Subscriber + 'static>(&self, subscriber: &Arc<S>) {
        let subscriber: Weak<S> = Arc::downgrade(subscriber);
        self.subscribers.write().unwrap_or_else(PoisonError::into_inner).push(subscriber);
    }

    fn subscribers(&self) -> Vec<Arc<dyn Subscriber>> {
        let subscribers = self.subscribers.read().unwrap_or_else(PoisonError::into_inner);
        subscribers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Commits a change of this caller, and removes the invalidated values from the caches before it returns. After the
    /// deadline it returns 503; the change may be committed later, and the caches are invalidated then.
    pub async fn commit(self: &Arc<Self>, call: &Call, change: Change) -> Result<Committed, Refused> {
        let now = self.env.now();
        let mut batch = if change.is_self_proving {
            Batch::new()
        } else {
            authority::proof(&call.caller, call.permission.into_iter().chain(change.requires), now)
        };
        batch.extend(change.batch);
        let outcome = change.outcome.unwrap_or("ok");
        batch.push(self.audit_row(AUDIT_ROW, call, change.action, Some(&change.subject), outcome, change.detail));
        batch.extend(change.invalidates.iter().filter_map(|invalidation| invalidation.row(now)));
        let running = Outliving(Some(Box::pin(self.clone().run(now, batch, change.urgency, change.invalidates))));
        let error = match tokio::time::timeout(self.db.deadline(), running).await {
            Ok(Ok(committed)) => return Ok(committed),
            Ok(Err(error)) => error,
            Err(_) => {
                self.forget_all();
                self.db.late()
            }
        };
        Err(match error {
            DbError::ExpectationFailed(authority::PROOF) => {
                // Another node may have changed it: the next authorization reads it again.
                self.forget(&Invalidation::of_caller(&call.caller)).await;
                let detail = "your permissions were changed at the same time; try again";
                Refused::Other(Error::new(Code::Conflict, detail).retry_after(1).because(Overtaken))
            }
            DbError::ExpectationFailed(name) => Refused::ExpectationFailed(name),
            DbError::Duplicate(name) => Refused::Duplicate(name),
            error => Refused::Other(error.into()),
        })
    }

    /// Writes the audit row of a refused call, which changes nothing and so needs no proof.
    pub async fn refuse<const N: usize>(
        &self,
        call: &Call,
        action: &'static str,
        subject: Option<&str>,
        outcome: &str,
        detail: [(&str, Option<Json>); N],
    ) -> Result<(), DbError> {
        let row = self.audit_row("refusal", call, action, subject, outcome, audit_row::detail(detail));
        self.db.commit(vec![row]).await.map(drop)
    }

    /// Follows a batch to its end, even if the caller stopped waiting.
    async fn run(
        self: Arc<Self>,
        now: Millis,
        batch: Batch,
        urgency: Urgency,
        invalidates: Vec<Invalidation>,
    ) -> Result<Committed, DbError> {
        let end = self.db.submit(batch, urgency).await;
        if let Err(DbError::Lost(lost)) = &end {
            let (lost, suspended) = (lost.clone(), self.trust.suspend());
            tokio::spawn(async move {
                self.settled(lost).await;
                self.forget_after(now, &invalidates, None).await;
                drop(suspended);
            });
            return end;
        }
        let nothing = Committed::default();
        let committed = match &end {
            Ok(committed) => Some(committed),
            // The database reopened its file, and may have found the batch that it had failed to sync.
            Err(DbError::Unavailable(_)) => None,
            Err(_) => Some(&nothing),
        };
        self.forget_after(now, &invalidates, committed).await;
        end
    }

    /// Waits until the outcome of a lost commit is known.
    async fn settled(&self, lost: LostCommit) {
        let (mut pause, longest) = SETTLE_PAUSE;
        tracing::warn!(
            reason = lost.reason,
            "the outcome of a commit is unknown; the caches are not used until it is known"
        );
        loop {
            match self.db.settle(lost.clone()).await {
                Ok(Some(is_committed)) => {
                    tracing::info!(is_committed, "the outcome of a lost commit is known");
                    return;
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "the outcome of a commit cannot be queried yet"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Removes values from this node's caches that another caller has changed.
    pub async fn forget(&self, invalidations: &[Invalidation]) {
        self.forget_after(self.env.now(), invalidations, None).await;
    }

    /// `now` is the time of the change, `committed` its outcome; `None` if that is unknown.
    async fn forget_after(&self, now: Millis, invalidates: &[Invalidation], committed: Option<&Committed>) {
        let subscribers = if invalidates.is_empty() { Vec::new() } else { self.subscribers() };
        for invalidation in invalidates {
            let subject = |row: &Row| row.cursor().string().ok();
            let subjects: Option<Vec<String>> = match invalidation {
                // Also for a refused change: the other change may not have invalidated the caches yet.
                Invalidation::One(_, subject) => Some(vec![subject.clone()]),
                Invalidation::Returned(_, statement) => {
                    committed.and_then(|committed| committed.rows(statement).iter().map(subject).collect())
                }
            };
            for subscriber in subscribers.iter().filter(|subscriber| subscriber.kind() == invalidation.kind()) {
                let Some(subjects) = &subjects else {
                    subscriber.forget_all();
                    continue;
                };
                for subject in subjects {
                    subscriber.forget(self.db.as_ref(), now, subject).await;
                }
            }
        }
    }

    fn forget_all(&self) {
        self.subscribers().iter().for_each(|subscriber| subscriber.forget_all());
    }
}

#[cfg(test)]
mod tests;
