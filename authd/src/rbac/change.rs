//! The conditions of a change that affects permissions on authd itself.
//!
//! Two concurrent changes could together grant more than their callers have: one adds a role to authd while the other
//! adds a permission to that role. So a change that depends on what others have on authd reads a counter first, every
//! change of permissions there increments it, and the commit fails if it changed in between. Other changes depend only
//! on the caller's own rows ([`crate::authority`]), and never wait for one another.

use shared::op::Permission;
use shared::problem::Code;

use super::store;
use crate::caller::{Caller, Permissions};
use crate::db::{Db, Statement};
use crate::error::{Error, Result};
use crate::ledger::Change;

/// The conditions under which a change was authorized.
#[derive(Debug)]
pub struct Guard<'a> {
    caller: &'a Caller,
    /// The counter before the first read. A caller with all permissions cannot grant one that they lack, and proves
    /// `admin` instead.
    seen: Option<i64>,
    held: Permissions,
    counts: bool,
}

impl<'a> Guard<'a> {
    /// To be created before the data that the authorization depends on is read.
    pub async fn new(db: &dyn Db, caller: &'a Caller) -> Result<Self> {
        let seen = if caller.can(Permission::Admin) { None } else { Some(store::changes(db).await?) };
        Ok(Self { caller, seen, held: Permissions::NONE, counts: false })
    }

    /// Refuses unless the caller has all of these on authd, now and at the commit.
    pub fn check_held(&mut self, permissions: Permissions) -> Result<()> {
        if let Some(permission) = permissions.iter().find(|permission| !self.caller.can(*permission)) {
            let detail = format!(
                "this would grant or remove {} on authd, which you do not have; ask somebody who has it",
                permission.as_str()
            );
            return Err(Error::new(Code::Forbidden, detail));
        }
        self.held = self.held | permissions;
        Ok(())
    }

    /// [`Guard::check_held`] for a change of permissions on authd: concurrent changes that depend on them start again.
    pub fn check_changed(&mut self, permissions: Permissions) -> Result<()> {
        self.counts = true;
        self.check_held(permissions)
    }

    /// Adds the conditions to the change.
    pub fn guard(self, change: Change) -> Change {
        let conditions: Vec<Statement> =
            self.seen.map(store::no_change_since).into_iter().chain(self.counts.then(store::count_change)).collect();
        let admin = self.seen.is_none().then_some(Permission::Admin);
        change.with(conditions).requires(self.held.iter()).requires(admin)
    }
}
