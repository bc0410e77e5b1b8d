//! A change of people or access: its rows, its audit entry and the word to the other nodes in one batch, and what this
//! node knew of it forgotten before anybody is answered.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use shared::id::UserId;
use shared::op::Permission;
use shared::problem::Code;

use super::store;
use crate::app::{App, Ctx};
use crate::audit;
use crate::caller::Permissions;
use crate::db::{Batch, DbError, Outcome, Statement};
use crate::error::{Error, Result};
use crate::{sessions, tokens};

/// What is about to be committed. Errors of the commit name statements by their positions in the order of
/// [`Change::push`].
#[derive(Debug)]
pub struct Change {
    ctx: Ctx,
    batch: Batch,
    /// How many changes there had been when the caller's permissions were first compared with anything.
    seen: Option<i64>,
    user: Option<UserId>,
    /// The statement that returns the ids of the tokens that it revokes.
    revokes: Option<usize>,
}

/// Somebody else changed access between what was checked and the commit. Found by [`is_overtaken`].
#[derive(Debug)]
struct Overtaken;

impl std::fmt::Display for Overtaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("another change of access was committed first")
    }
}

impl std::error::Error for Overtaken {}

/// Whether trying again may succeed, because only somebody else's change was in the way.
pub fn is_overtaken(error: &Error) -> bool {
    error.source.as_ref().is_some_and(|source| source.is::<Overtaken>())
}

/// Why a change was not committed.
#[derive(Debug)]
pub enum Refused {
    /// The statement at this position did not find what it expects.
    Unmet(usize),
    /// The statement at this position would repeat something unique.
    Duplicate(usize),
    Other(Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unmet(index) => DbError::Unmet(index).into(),
            Refused::Duplicate(index) => DbError::Duplicate(index).into(),
            Refused::Other(error) => error,
        }
    }
}

impl Change {
    pub fn new(ctx: &Ctx) -> Self {
        Self { ctx: ctx.clone(), batch: Batch::new(), seen: None, user: None, revokes: None }
    }

    /// A change that depends on what the caller holds on authd, and that must be made before anything is read for
    /// that: two changes, harmless each, could together give away more than their maker holds (a role is let count
    /// on authd while a permission is added to it). So of two that overlap one begins anew. Whoever holds everything
    /// can give away nothing that they lack, and waits for nobody.
    pub async fn guarded(ctx: &Ctx) -> Result<Self> {
        let mut change = Self::new(ctx);
        if !ctx.caller.can(Permission::Admin) {
            change.seen = Some(store::changes(ctx.app.db.as_ref()).await?);
        }
        Ok(change)
    }

    /// Refuses unless the caller holds all of these on authd.
    pub fn check_held(&self, permissions: Permissions) -> Result<()> {
        debug_assert!(self.seen.is_some() || self.ctx.caller.can(Permission::Admin), "the change is not guarded");
        match permissions.iter().find(|permission| !self.ctx.caller.can(*permission)) {
            Some(permission) => {
                let detail = format!(
                    "this would give or take {} on authd, which you do not hold yourself; ask somebody who does",
                    permission.as_str()
                );
                Err(Error::new(Code::Forbidden, detail))
            }
            None => Ok(()),
        }
    }

    pub fn push(&mut self, statement: Statement) -> &mut Self {
        self.batch.push(statement);
        self
    }

    pub fn extend(&mut self, statements: impl IntoIterator<Item = Statement>) -> &mut Self {
        self.batch.extend(statements);
        self
    }

    /// The sessions of this user are to be forgotten, here and on the other nodes. Not the first of a change.
    pub fn forget_user(&mut self, user: UserId) -> &mut Self {
        self.user = Some(user);
        self.batch.push(sessions::store::invalidate(user, self.ctx.now()));
        self
    }

    /// The last statement so far returns ids of tokens, which are to be forgotten.
    pub fn forget_returned_tokens(&mut self) -> &mut Self {
        self.revokes = self.batch.len().checked_sub(1);
        self
    }

    /// Commits, and forgets what was cached, so that the answer comes after. It runs to its end even when the caller
    /// goes away: a commit whose forgetting was cancelled would leave what was taken away in the cache for good.
    pub async fn commit(
        mut self,
        action: &str,
        subject: impl ToString,
        detail: Map<String, Json>,
    ) -> Result<Vec<Outcome>, Refused> {
        let subject = subject.to_string();
        self.batch.push(audit::row(&self.ctx, action, Some(&subject), detail));
        self.batch.push(store::invalidate(&subject, self.ctx.now()));
        let counting = self.batch.len();
        self.batch.push(store::changed(self.seen));
        let app = self.ctx.app.clone();
        let running = tokio::spawn(run(app.clone(), self.batch, self.user, self.revokes));
        let committed = running.await.unwrap_or_else(|error| {
            app.distrust();
            Err(DbError::Unavailable(error.into()))
        });
        committed.map_err(|error| match error {
            DbError::Unmet(index) if index == counting => {
                let detail = "access was changed at the same time; try again";
                Refused::Other(Error::new(Code::Conflict, detail).retry_after(1).because(Overtaken))
            }
            DbError::Unmet(index) => Refused::Unmet(index),
            DbError::Duplicate(index) => Refused::Duplicate(index),
            error => Refused::Other(error.into()),
        })
    }
}

async fn run(
    app: Arc<App>,
    batch: Batch,
    user: Option<UserId>,
    revokes: Option<usize>,
) -> Result<Vec<Outcome>, DbError> {
    let committed = app.db.commit_rows(batch).await;
    if matches!(committed, Err(DbError::Unavailable(_))) {
        app.distrust();
        return committed;
    }
    // Refused too: whoever was first may not have come to forget yet.
    app.rbac.forget_all();
    if let Some(user) = user {
        app.sessions.forget_user(&app, user).await;
    }
    if let (Some(index), Ok(outcomes)) = (revokes, &committed) {
        tokens::forget_returned(&app, &outcomes[index]).await;
    }
    committed
}
