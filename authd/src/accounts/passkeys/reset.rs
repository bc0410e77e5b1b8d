//! What administrators do about the passkeys of others.

use serde_json::json;
use shared::api::Done;
use shared::api::passkeys::{ListUserPasskeys, Passkey, PasskeyList, RemoveUserPasskey};
use shared::op::Operation;

use super::store;
use crate::accounts::{Accounts, links};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::rbac::{self, Guard};
use crate::sessions;

impl Accounts {
    pub(in crate::accounts) async fn list_user_passkeys(&self, _: Call, op: ListUserPasskeys) -> Result<PasskeyList> {
        let user = self.users.find(&op.id).await?;
        let passkeys = store::list(self.base.db.as_ref(), user.id).await?;
        Ok(PasskeyList { passkeys: passkeys.into_iter().map(Passkey::from).collect() })
    }

    /// Where passkeys are required, the password gives access again after the last one: so the caller must have what the
    /// user has, as for a password.
    pub(in crate::accounts) async fn remove_user_passkey(&self, call: Call, op: RemoveUserPasskey) -> Result<Done> {
        let user = self.users.find(&op.id).await?;
        let (gives_access, holds_nothing) = self.reaching(&call, user.id, "removing their passkey").await?;
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        guard.check_held(rbac::store::on_authd(self.base.db.as_ref(), user.id).await?)?;
        let change = Change::new(RemoveUserPasskey::INFO.name, user.id)
            .with([
                store::remove(op.passkey, user.id),
                sessions::store::end_all(user.id, None, "passkey_removed", self.base.now()),
                links::store::delete_all(user.id),
            ])
            .with(holds_nothing)
            .requires(gives_access)
            .invalidates(Invalidation::sessions(user.id))
            .detail([("username", Some(json!(user.username))), ("passkey", Some(json!(op.passkey)))]);
        match self.base.ledger.commit(&call, guard.guard(change)).await {
            Ok(_) => Ok(Done::default()),
            Err(Refused::ExpectationFailed(store::CHANGED)) => Err(Error::not_found("passkey")),
            Err(refused) => Err(refused.into()),
        }
    }
}
