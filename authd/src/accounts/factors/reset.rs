//! What administrators do about the factors of others.

use serde_json::json;
use shared::api::Done;
use shared::api::factors::{FactorList, ListUserFactors, ResetTotp};
use shared::op::Operation;
use shared::problem::Code;

use super::store;
use crate::accounts::{Accounts, links};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::rbac::{self, Guard};
use crate::sessions;

impl Accounts {
    pub(in crate::accounts) async fn list_user_factors(&self, _: Call, op: ListUserFactors) -> Result<FactorList> {
        let user = self.users.find(&op.id).await?;
        store::list(self.base.db.as_ref(), user.id).await
    }

    /// Together with a password it gives access to what the user has, so the caller must have that, as for a password.
    pub(in crate::accounts) async fn reset_totp(&self, call: Call, op: ResetTotp) -> Result<Done> {
        let user = self.users.find(&op.id).await?;
        let (gives_access, holds_nothing) = self.reaching(&call, user.id, "resetting their TOTP").await?;
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        guard.check_held(rbac::store::on_authd(self.base.db.as_ref(), user.id).await?)?;
        let change = Change::new(ResetTotp::INFO.name, user.id)
            .with(store::turn_off(user.id))
            .with([
                sessions::store::end_all(user.id, None, "totp_reset", self.base.now()),
                links::store::delete_all(user.id),
            ])
            .with(holds_nothing)
            .requires(gives_access)
            .invalidates(Invalidation::sessions(user.id))
            .detail([("username", Some(json!(user.username)))]);
        match self.base.ledger.commit(&call, guard.guard(change)).await {
            Ok(_) => Ok(Done::default()),
            Err(Refused::ExpectationFailed(store::TURNED_OFF)) => {
                Err(Error::new(Code::Conflict, format!("TOTP is not on for {}", user.username)))
            }
            Err(refused) => Err(refused.into()),
        }
    }
}
