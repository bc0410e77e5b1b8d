//! What a change that touches authority on authd itself depends on.
//!
//! Two changes, harmless each, could together give away more than their makers hold: a role is let count on authd while a
//! permission is added to it. So whoever judges by what others hold on authd reads a counter first, every change of what
//! anybody holds there counts, and the commit fails when there has been one in between. Changes of anything else depend on
//! the caller's own rows alone ([`crate::authority`]), and never wait for one another.

use shared::op::Permission;
use shared::problem::Code;

use super::store;
use crate::caller::{Caller, Permissions};
use crate::db::{Db, Statement};
use crate::error::{Error, Result};
use crate::ledger::Change;

/// What a change was judged by.
#[derive(Debug)]
pub struct Guard<'a> {
    caller: &'a Caller,
    /// How many changes there had been before anything was read. Whoever holds everything can give away nothing that they
    /// lack, and proves `admin` instead.
    seen: Option<i64>,
    held: Permissions,
    counts: bool,
}

impl<'a> Guard<'a> {
    /// To be made before anything is read that the change is judged by.
    pub async fn new(db: &dyn Db, caller: &'a Caller) -> Result<Self> {
        let seen = if caller.can(Permission::Admin) { None } else { Some(store::changes(db).await?) };
        Ok(Self { caller, seen, held: Permissions::NONE, counts: false })
    }

    /// Refuses unless the caller holds all of these on authd, now and at the commit.
    pub fn check_held(&mut self, permissions: Permissions) -> Result<()> {
        if let Some(permission) = permissions.iter().find(|permission| !self.caller.can(*permission)) {
            let detail = format!(
                "this would give or take {} on authd, which you do not hold yourself; ask somebody who does",
                permission.as_str()
            );
            return Err(Error::new(Code::Forbidden, detail));
        }
        self.held = self.held | permissions;
        Ok(())
    }

    /// [`Guard::check_held`] for a change of what somebody holds on authd: others who judge by that begin anew.
    pub fn check_changed(&mut self, permissions: Permissions) -> Result<()> {
        self.counts = true;
        self.check_held(permissions)
    }

    /// The change with its conditions.
    pub fn guard(self, change: Change) -> Change {
        let conditions: Vec<Statement> =
            self.seen.map(store::no_change_since).into_iter().chain(self.counts.then(store::count_change)).collect();
        let admin = self.seen.is_none().then_some(Permission::Admin);
        change.with(conditions).requires(self.held.iter()).requires(admin)
    }
}
