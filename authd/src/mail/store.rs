//! The SQL of the table `mails`.

use shared::api::mail::{Mail, MailState};
use shared::id::MailId;
use shared::time::Time;

use super::template::Template;
use crate::db::{Batch, Cursor, Db, DbError, Query, Row, Statement};
use crate::env::{DAY, Millis, SKEW};
use crate::error::{Error, Result};
use crate::page::{Listed, Page};

/// Names of statements whose failure has a meaning.
pub(super) const RETRY: &str = "retry_mail";
pub(super) const DROP: &str = "drop_mail";

/// How long a mail is kept whatever becomes of it: attempts end long before, unless nothing sends mails any more.
pub const KEPT: Millis = 14 * DAY;
/// How long mails that failed are kept for the operator, and how many, the newest.
const FAILED_KEPT: Millis = 7 * DAY;
const MOST_FAILED: i64 = 10_000;

/// Not for the batch that writes a mail: on PostgreSQL each two such batches at the same time would conflict.
const WAITING: &str = "SELECT COUNT(*) FROM mails WHERE state = 'queued'";
const INSERT: &str = "INSERT INTO mails (id, template, recipient, sealed, created_at, expires_at, state, attempts, \
     attempt_after, lease_until, error) VALUES ($1, $2, $3, $4, $5, $6, 'queued', 0, $5, 0, NULL)";

macro_rules! shown {
    () => {
        "id, template, recipient, created_at, state, attempts, attempt_after, expires_at, error"
    };
}
const LIST: &str = concat!("SELECT ", shown!(), " FROM mails WHERE id < $1 ORDER BY id DESC LIMIT $2");
const SHOW: &str = concat!("SELECT ", shown!(), " FROM mails WHERE id = $1");
const IS_THERE: &str = "SELECT 1 FROM mails WHERE id = $1";
// Nobody sends it at this moment. A lease further away than its own length was set by a wrong clock, and is void.
const RETRY_SQL: &str = concat!(
    "UPDATE mails SET state = 'queued', attempts = 0, attempt_after = $2 \
     WHERE id = $1 AND (lease_until <= $2 OR lease_until > $3) RETURNING ",
    shown!()
);
const DROP_SQL: &str = "DELETE FROM mails WHERE id = $1 AND (lease_until <= $2 OR lease_until > $3)";

// Also what waits for a moment so far in the future that a wrong clock must have set it.
const DUE: &str = "SELECT id, template, recipient, sealed, expires_at, created_at, attempts, lease_until FROM mails \
     WHERE state = 'queued' AND (attempt_after <= $1 OR attempt_after > $2) AND (lease_until <= $1 OR lease_until > $3) \
     ORDER BY attempt_after LIMIT $4";
const CLAIM: &str = "UPDATE mails SET lease_until = $2, attempts = attempts + 1 \
     WHERE id = $1 AND state = 'queued' AND lease_until = $3 AND attempts = $4";
const RENEW: &str = "UPDATE mails SET lease_until = $3 WHERE id = $1 AND state = 'queued' AND lease_until = $2";
const DELETE: &str = "DELETE FROM mails WHERE id = $1 AND lease_until = $2";
const PUT_BACK: &str = "UPDATE mails SET state = $3, attempt_after = $4, error = $5, lease_until = 0 \
     WHERE id = $1 AND lease_until = $2";
const END_LEASES: &str = "UPDATE mails SET lease_until = 0 WHERE state = 'queued' AND lease_until > 0";

/// Delete what is too old, for [`crate::db::sweep::expired`]: anything, and mails that failed, up to [`failed_end`].
pub const SWEEP: &str =
    "DELETE FROM mails WHERE id IN (SELECT id FROM mails WHERE created_at <= $1 ORDER BY created_at LIMIT $2)";
pub const SWEEP_FAILED: &str = "DELETE FROM mails WHERE id IN \
     (SELECT id FROM mails WHERE state = 'failed' AND attempt_after <= $1 ORDER BY attempt_after LIMIT $2)";
const FIRST_TOO_MANY: &str =
    "SELECT attempt_after FROM mails WHERE state = 'failed' ORDER BY attempt_after DESC LIMIT 1 OFFSET $1";

/// Until when mails that failed are to be deleted.
pub async fn failed_end(db: &dyn Db, now: Millis) -> Result<Millis, DbError> {
    let rows = db.query(Query::new(FIRST_TOO_MANY, [MOST_FAILED.into()])).await?;
    let too_many = rows.first().map(|row| row.cursor().int()).transpose()?;
    Ok(too_many.unwrap_or_default().max(now - FAILED_KEPT))
}

/// A mail to write.
pub(super) struct NewMail<'a> {
    pub id: MailId,
    pub template: Template,
    pub to: &'a str,
    pub sealed: Vec<u8>,
    pub expires_at: Option<Millis>,
}

/// How many mails wait: reads as many rows of an index, which the limits of mails bound.
pub(super) async fn waiting(db: &dyn Db) -> Result<u32, DbError> {
    let rows = db.query(Query::new(WAITING, [])).await?;
    let waiting = rows.first().map(|row| row.cursor().int()).transpose()?.unwrap_or_default();
    Ok(u32::try_from(waiting).unwrap_or(u32::MAX))
}

/// Writes a mail.
pub(super) fn insert(mail: NewMail<'_>, now: Millis) -> Statement {
    let (template, to) = (mail.template.name(), mail.to);
    let row = [mail.id.into(), template.into(), to.into(), mail.sealed.into(), now.into(), mail.expires_at.into()];
    Statement::one("insert_mail", INSERT, row)
}

pub(super) async fn list(db: &dyn Db, page: &Page<MailId>) -> Result<Listed<Mail>> {
    // An id is hexadecimal, so it sorts before this.
    let rows = db.query(Query::new(LIST, [page.after_or("~"), page.rows()])).await?;
    let mails = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(page.cut(mails, |mail| mail.id))
}

pub(super) async fn show(db: &dyn Db, id: MailId) -> Result<Option<Mail>> {
    db.query(Query::point(SHOW, [id.into()])).await?.first().map(read).transpose()
}

pub(super) async fn is_there(db: &dyn Db, id: MailId) -> Result<bool, DbError> {
    Ok(!db.query(Query::point(IS_THERE, [id.into()])).await?.is_empty())
}

/// Makes a mail due now, unless it is being sent; returns it.
pub(super) fn retry(id: MailId, now: Millis, lease: Millis) -> Statement {
    Statement::one(RETRY, RETRY_SQL, [id.into(), now.into(), (now + lease + SKEW).into()])
}

/// Deletes a mail, unless it is being sent.
pub(super) fn drop(id: MailId, now: Millis, lease: Millis) -> Statement {
    Statement::one(DROP, DROP_SQL, [id.into(), now.into(), (now + lease + SKEW).into()])
}

pub(super) fn read(row: &Row) -> Result<Mail> {
    let mut row = row.cursor();
    let (id, template, to) = (row.id()?, row.string()?, row.string()?);
    let created_at = Time::from_millis(row.int()?);
    let state = match row.text()? {
        "queued" => MailState::Queued,
        "failed" => MailState::Failed,
        other => return Err(Error::internal(format!("a mail has the state {other:?}"))),
    };
    let attempts = u64::try_from(row.int()?).unwrap_or_default();
    let attempt_after = Time::from_millis(row.int()?);
    let next_attempt_at = (state == MailState::Queued).then_some(attempt_after);
    let expires_at = row.opt(Cursor::int)?.map(Time::from_millis);
    let error = row.opt(Cursor::string)?;
    Ok(Mail { id, template, to, created_at, state, attempts, next_attempt_at, expires_at, error })
}

/// A mail that a node sends, while it has the lease.
#[derive(Debug)]
pub(super) struct Claimed {
    pub id: MailId,
    pub template: String,
    pub to: String,
    pub sealed: Vec<u8>,
    pub expires_at: Option<Millis>,
    pub created_at: Millis,
    /// With this one.
    pub attempts: i64,
    lease_until: Millis,
}

/// The longest times by which stored moments are judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Longest {
    pub pause: Millis,
    pub lease: Millis,
}

/// Claims at most `limit` mails that are due.
pub(super) async fn claim(db: &dyn Db, now: Millis, longest: Longest, limit: i64) -> Result<Vec<Claimed>, DbError> {
    let (pause, lease) = (now + longest.pause + SKEW, now + longest.lease + SKEW);
    let due = db.query(Query::new(DUE, [now.into(), pause.into(), lease.into(), limit.into()])).await?;
    let mut claimed = Vec::with_capacity(due.len());
    for row in &due {
        let mut row = row.cursor();
        let mut mail = Claimed {
            id: row.id()?,
            template: row.string()?,
            to: row.string()?,
            sealed: row.bytes()?.to_vec(),
            expires_at: row.opt(Cursor::int)?,
            created_at: row.int()?,
            attempts: row.int()?,
            lease_until: row.int()?,
        };
        let until = now + longest.lease;
        let params = [mail.id.into(), until.into(), mail.lease_until.into(), mail.attempts.into()];
        match db.commit(vec![Statement::one("claim_mail", CLAIM, params)]).await {
            Ok(_) => {}
            // Another node has it.
            Err(DbError::ExpectationFailed(_)) => continue,
            Err(error) if claimed.is_empty() => return Err(error),
            Err(_) => break,
        }
        (mail.lease_until, mail.attempts) = (until, mail.attempts + 1);
        claimed.push(mail);
    }
    Ok(claimed)
}

/// Takes the lease until another time. Fails if another node has it.
pub(super) async fn renew(db: &dyn Db, mail: &mut Claimed, until: Millis) -> Result<(), DbError> {
    let params = [mail.id.into(), mail.lease_until.into(), until.into()];
    db.commit(vec![Statement::one("renew_lease", RENEW, params)]).await?;
    mail.lease_until = until;
    Ok(())
}

/// The mail is done with.
pub(super) fn delete(mail: &Claimed) -> Batch {
    vec![Statement::any("delete_mail", DELETE, [mail.id.into(), mail.lease_until.into()])]
}

/// The attempt failed: for good, or until the next one.
pub(super) fn put_back(mail: &Claimed, state: MailState, attempt_after: Millis, error: &str) -> Batch {
    let state = if state == MailState::Failed { "failed" } else { "queued" };
    let params = [mail.id.into(), mail.lease_until.into(), state.into(), attempt_after.into(), error.into()];
    vec![Statement::any("put_mail_back", PUT_BACK, params)]
}

/// Ends all leases: no other process sends mails of this database.
pub(super) fn end_leases() -> Batch {
    vec![Statement::any("end_leases", END_LEASES, [])]
}

/// A mail that was just written.
pub(super) fn queued(id: MailId, template: Template, to: &str, now: Millis) -> Mail {
    let now = Time::from_millis(now);
    Mail {
        id,
        template: template.name().to_owned(),
        to: to.to_owned(),
        created_at: now,
        state: MailState::Queued,
        attempts: 0,
        next_attempt_at: Some(now),
        expires_at: None,
        error: None,
    }
}
