//! The SQL of factors and recovery codes.

use shared::api::factors::{Factor, FactorKind, FactorList};
use shared::id::UserId;
use shared::time::Time;
use uuid::Uuid;

use super::model;
use crate::db::{Cursor, Db, Query, Row, Statement};
use crate::env::Millis;
use crate::error::Result;

const FIND_ON: &str = "SELECT id, sealed, counter FROM factors \
     WHERE user_id = $1 AND kind = 'totp' AND confirmed_at IS NOT NULL";
const FIND_PENDING: &str = "SELECT id, sealed, expires_at FROM factors \
     WHERE user_id = $1 AND kind = 'totp' AND confirmed_at IS NULL";
const INSERT_PENDING: &str = "INSERT INTO factors (id, user_id, kind, name, sealed, attributes, counter, created_at, \
       expires_at) VALUES ($1, $2, 'totp', 'authenticator app', $3, '{}', 0, $4, $5)";
const DROP_PENDING: &str = "DELETE FROM factors WHERE user_id = $1 AND kind = 'totp' AND confirmed_at IS NULL";
const CONFIRM: &str = "UPDATE factors SET confirmed_at = $3, last_used_at = $3, counter = $2, expires_at = NULL \
     WHERE id = $1 AND confirmed_at IS NULL AND expires_at > $3";
// A counter after $4 was stored by a wrong clock.
const ACCEPT_STEP: &str = "UPDATE factors SET counter = $2, last_used_at = $3 \
     WHERE id = $1 AND confirmed_at IS NOT NULL AND (counter < $2 OR counter > $4)";
const TURN_OFF: &str = "DELETE FROM factors WHERE user_id = $1 AND kind = 'totp' AND confirmed_at IS NOT NULL";
const DELETE: &str = "DELETE FROM factors WHERE user_id = $1";
const LIST: &str = "SELECT kind, name, confirmed_at, last_used_at FROM factors \
     WHERE user_id = $1 AND confirmed_at IS NOT NULL ORDER BY id";
const INSERT_CODE: &str = "INSERT INTO recovery_codes (user_id, hash, created_at) VALUES ($1, $2, $3)";
const USE_CODE: &str = "UPDATE recovery_codes SET used_at = $3 WHERE user_id = $1 AND hash = $2 AND used_at IS NULL";
const DELETE_CODES: &str = "DELETE FROM recovery_codes WHERE user_id = $1";
const COUNT_CODES: &str = "SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL";

/// Deletes factors that were never confirmed; the parameters are the time and the maximum number of rows.
pub const SWEEP: &str = "DELETE FROM factors WHERE id IN \
     (SELECT id FROM factors WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";

/// Names of statements whose failure has a meaning.
///
/// The code was used by another call, or TOTP was turned on or off since it was judged.
pub const SECOND_FACTOR: &str = "second_factor";
/// TOTP is on.
pub const IS_OFF: &str = "totp_is_off";
/// TOTP is off.
pub const TURNED_OFF: &str = "turn_totp_off";
/// The pending TOTP was confirmed, replaced or turned void.
pub const CONFIRMED: &str = "confirm_totp";

/// The context of a sealed secret.
pub fn context(id: Uuid) -> String {
    format!("factors.sealed:{id}")
}

/// A TOTP that is on.
#[derive(Debug)]
pub struct Totp {
    pub id: Uuid,
    pub sealed: Vec<u8>,
    /// The last accepted step.
    pub last_step: i64,
}

/// A TOTP that waits for its first code.
#[derive(Debug)]
pub struct PendingTotp {
    pub id: Uuid,
    pub sealed: Vec<u8>,
    pub expires_at: Millis,
}

pub async fn find_on(db: &dyn Db, user: UserId) -> Result<Option<Totp>> {
    let read = |row: &Row| {
        let mut row = row.cursor();
        Ok(Totp { id: row.id()?, sealed: row.bytes()?.to_vec(), last_step: row.int()? })
    };
    db.query(Query::point(FIND_ON, [user.into()])).await?.first().map(read).transpose()
}

/// The pending TOTP of a user, void or not.
pub async fn find_pending(db: &dyn Db, user: UserId) -> Result<Option<PendingTotp>> {
    let read = |row: &Row| {
        let mut row = row.cursor();
        Ok(PendingTotp { id: row.id()?, sealed: row.bytes()?.to_vec(), expires_at: row.int()? })
    };
    db.query(Query::point(FIND_PENDING, [user.into()])).await?.first().map(read).transpose()
}

/// Replaces the pending TOTP; fails if one is on ([`IS_OFF`]).
pub fn insert_pending(id: Uuid, user: UserId, sealed: Vec<u8>, now: Millis, expires_at: Millis) -> [Statement; 3] {
    let row = [id.into(), user.into(), sealed.into(), now.into(), expires_at.into()];
    [
        Statement::absent(IS_OFF, FIND_ON, [user.into()]),
        Statement::any("drop_pending_totp", DROP_PENDING, [user.into()]),
        Statement::one("insert_totp", INSERT_PENDING, row),
    ]
}

/// Turns a pending TOTP on ([`CONFIRMED`]). `step` is that of the code.
pub fn confirm(id: Uuid, step: i64, now: Millis) -> Statement {
    Statement::one(CONFIRMED, CONFIRM, [id.into(), step.into(), now.into()])
}

/// Requires that TOTP is off ([`SECOND_FACTOR`]).
pub fn is_off(user: UserId) -> Statement {
    Statement::absent(SECOND_FACTOR, FIND_ON, [user.into()])
}

/// Requires that TOTP is on ([`TURNED_OFF`]).
pub fn is_on(user: UserId) -> Statement {
    Statement::exists(TURNED_OFF, FIND_ON, [user.into()])
}

/// Accepts the code of a step ([`SECOND_FACTOR`]), unless it or a later one was accepted before.
pub fn accept_step(id: Uuid, step: i64, now: Millis) -> Statement {
    let params = [id.into(), step.into(), now.into(), model::latest_step(now).into()];
    Statement::one(SECOND_FACTOR, ACCEPT_STEP, params)
}

/// Accepts a recovery code ([`SECOND_FACTOR`]), unless there is none with this hash or it was used before.
pub fn use_recovery_code(user: UserId, hash: [u8; 32], now: Millis) -> Statement {
    Statement::one(SECOND_FACTOR, USE_CODE, [user.into(), hash.into(), now.into()])
}

/// Deletes the TOTP of a user, which has to be on ([`TURNED_OFF`]), with the recovery codes.
pub fn turn_off(user: UserId) -> [Statement; 2] {
    [Statement::one(TURNED_OFF, TURN_OFF, [user.into()]), Statement::any("delete_codes", DELETE_CODES, [user.into()])]
}

/// Replaces the recovery codes by those of these hashes.
pub fn replace_recovery_codes(user: UserId, hashes: &[[u8; 32]], now: Millis) -> Vec<Statement> {
    let insert =
        |hash: &[u8; 32]| Statement::one("insert_code", INSERT_CODE, [user.into(), (*hash).into(), now.into()]);
    let delete = Statement::any("delete_codes", DELETE_CODES, [user.into()]);
    std::iter::once(delete).chain(hashes.iter().map(insert)).collect()
}

/// Deletes all factors of a user, with the recovery codes.
pub fn delete_all(user: UserId) -> [Statement; 2] {
    [
        Statement::any("delete_factors", DELETE, [user.into()]),
        Statement::any("delete_codes", DELETE_CODES, [user.into()]),
    ]
}

/// The factors of a user that are on.
pub async fn list(db: &dyn Db, user: UserId) -> Result<FactorList> {
    let read = |row: &Row| {
        let mut row = row.cursor();
        let text = row.text()?;
        let kind = [FactorKind::Totp, FactorKind::Passkey].into_iter().find(|kind| kind.as_str() == text);
        Ok(Factor {
            kind: kind.unwrap_or(FactorKind::Unknown),
            name: row.string()?,
            created_at: Time::from_millis(row.int()?),
            last_used_at: row.opt(Cursor::int)?.map(Time::from_millis),
        })
    };
    let factors = db.query(Query::new(LIST, [user.into()])).await?.iter().map(read).collect::<Result<_>>()?;
    let count = db.query(Query::new(COUNT_CODES, [user.into()])).await?;
    let count = count.first().map(|row| row.cursor().int()).transpose()?.unwrap_or_default();
    Ok(FactorList { factors, recovery_codes: u32::try_from(count).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[test]
    fn what_is_asked_of_one_user_reads_that_user_alone() {
        testing::plans(&[
            FIND_ON,
            FIND_PENDING,
            DROP_PENDING,
            TURN_OFF,
            DELETE,
            LIST,
            USE_CODE,
            DELETE_CODES,
            COUNT_CODES,
            "DELETE FROM factors WHERE expires_at <= $1",
        ]);
    }
}
