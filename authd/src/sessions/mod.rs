//! Sessions: one table with kinds, one of identities.
//!
//! Invariants: a session that has ended never comes back; whoever changes one says in the same statement that it must
//! still be alive, so that an end and a renewal cannot both win; ending forgets the provider's tokens at once; of a
//! session's token only the hash is stored; an end is visible to this node's next check before it is answered.

mod cache;
pub mod check;
pub mod live;
pub mod lockout;
pub mod login;
pub mod model;
pub mod ops;
pub mod store;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use shared::id::UserId;
use shared::problem::Code;

pub use self::live::Sessions;
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::ledger::Invalidation;
use crate::rbac;
use crate::registry::Registry;

/// The kind of the invalidations of sessions; their subject is the user's id.
const INVALIDATION: &str = "sessions";

/// The sessions of a user have changed, or what they tell of the user.
pub(crate) fn invalidation(user: UserId) -> Invalidation {
    Invalidation::One(INVALIDATION, user.to_string())
}

pub fn register(registry: &mut Registry) {
    registry.add_direct(|ctx, op| check::check_token_cached(&ctx.app, op), check::check_token);
    registry.add(check::check_access);
    registry.add(check::check_permission);
    registry.add(check::query_permission);
    registry.add(check::whoami);
    registry.add(login::login);
    registry.add(login::logout);
    registry.add(login::profile);
    registry.add(login::change_password);
    registry.add(ops::list);
    registry.add(ops::list_own);
    registry.add(ops::end);
    registry.add(ops::end_own);
    registry.add(ops::end_all);
    registry.add(lockout::list);
    registry.add(lockout::clear);
}

/// Who holds a token, whichever kind it is: a session's or an API token. A person's session slides by being used.
pub async fn authenticate(app: &App, token: &str, address: Option<IpAddr>, renews: bool) -> Result<Caller> {
    if !live::is_token(token) {
        let caller = app.tokens.authenticate(app, token, address).await?;
        if let Caller::Service { service, .. } = &caller {
            check::own_service(app, *service).await?;
        }
        return Ok(caller);
    }
    let live = if renews {
        app.sessions.touch(app, token).await?.map(|(live, _)| live)
    } else {
        app.sessions.find(app, token).await?
    };
    let live = live.ok_or_else(|| Error::new(Code::InvalidToken, "the session has ended; sign in again"))?;
    let access = app.rbac.access(app, live.user_id, rbac::AUTHD).await?;
    Ok(Caller::User { id: live.user_id, username: live.username()?, session: live.id, permissions: access.authd })
}
