//! The SQL of what an account keeps when an identity is unlinked.

use shared::id::UserId;

use crate::db::Statement;

const FIND_ANOTHER_WAY: &str = "SELECT 1 FROM users u WHERE u.id = $1 AND (u.password_hash IS NOT NULL \
     OR EXISTS (SELECT 1 FROM identities i WHERE i.user_id = u.id) \
     OR EXISTS (SELECT 1 FROM factors f WHERE f.user_id = u.id AND f.kind = 'passkey'))";

/// The user can sign in by something.
pub const ANOTHER_WAY: &str = "has_another_way";

/// Requires that the user can still sign in ([`ANOTHER_WAY`]).
pub fn has_another_way(user: UserId) -> Statement {
    Statement::exists(ANOTHER_WAY, FIND_ANOTHER_WAY, [user.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[test]
    fn another_way_is_found_by_index() {
        testing::plans(&[FIND_ANOTHER_WAY]);
    }
}
