//! The SQL of a browser's session that takes the place of another.

use shared::id::{SessionId, UserId};

use super::end_login;
use crate::cache::Hash;
use crate::db::{Statement, Value};
use crate::env::Millis;

// The absolute end stays: a step-up is no new sign-in. So does when it began, and by which provider.
const REPLACE: &str = "INSERT INTO sessions (id, kind, user_id, token_hash, generation, created_at, renewed_at, \
       last_used_at, idle_expires_at, absolute_expires_at, client_version, address, lease_until, attributes, factor_at, \
       provider) \
     SELECT $1, s.kind, s.user_id, $2, 0, s.created_at, $3, $3, \
       CASE WHEN s.absolute_expires_at < $4 THEN s.absolute_expires_at ELSE $4 END, s.absolute_expires_at, NULL, $5, 0, \
       s.attributes, CASE WHEN $8 = 1 THEN $3 ELSE s.factor_at END, s.provider FROM sessions s \
     WHERE s.id = $6 AND s.user_id = $7 AND s.kind = 'web' AND s.ended_at IS NULL AND s.idle_expires_at > $3 \
       AND s.absolute_expires_at > $3";

/// The statement that inserts the session; it fails if the other one is not the live session of a browser.
pub const REPLACED: &str = "replace_session";
/// Why the other one ended.
const REASON: &str = "replaced";

/// A browser's session in place of another.
#[derive(Debug)]
pub struct Replacement {
    pub id: SessionId,
    pub hash: Hash,
    pub now: Millis,
    pub idle_expires_at: Millis,
    pub address: Option<String>,
    /// Whether all factors were proved now; otherwise they were when they were.
    pub is_fresh: bool,
}

/// Inserts the session and ends the other one ([`REPLACED`]). The change must invalidate
/// [`Invalidation::sessions`](crate::ledger::Invalidation::sessions).
pub fn replace(of: SessionId, user: UserId, replacement: &Replacement) -> [Statement; 2] {
    let Replacement { id, hash, now, idle_expires_at, address, is_fresh } = replacement;
    let params = [
        (*id).into(),
        Value::from(*hash),
        (*now).into(),
        (*idle_expires_at).into(),
        address.clone().into(),
        of.into(),
        user.into(),
        i64::from(*is_fresh).into(),
    ];
    [Statement::one(REPLACED, REPLACE, params), end_login(of, user, REASON, *now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[test]
    fn a_session_is_replaced_by_its_key() {
        testing::plans(&[REPLACE]);
    }
}
