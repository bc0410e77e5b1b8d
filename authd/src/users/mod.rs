//! Users and their passwords.
//!
//! Invariants: only this module reads or writes the table `users` directly (others join it); user names are compared in
//! their folded form, and unique among users that are not deleted; only the hash of a password is stored.

pub mod store;

use std::sync::Arc;

use shared::api::users::User;
use shared::id::UserId;
use shared::secret::Secret;

use crate::base::Base;
use crate::entities;
use crate::error::{Error, Result};
use crate::passwords::{Passwords, Verified};

/// Users.
#[derive(Debug)]
pub struct Users {
    base: Base,
    passwords: Passwords,
}

impl Users {
    pub fn new(base: &Base) -> Arc<Self> {
        Arc::new(Self { base: base.clone(), passwords: Passwords::default() })
    }

    /// A user who is not deleted, by id, name or address.
    pub async fn find(&self, id_or_name: &str) -> Result<User> {
        let db = self.base.db.as_ref();
        if let Some(user) = entities::find(db, id_or_name).await? {
            return Ok(user);
        }
        // By address.
        match store::find_id(db, id_or_name).await? {
            Some(id) => entities::stored(db, &id.to_string()).await,
            None => Err(Error::not_found("user")),
        }
    }

    /// A user's id, from the id itself or the name or address of a user who is not deleted.
    pub async fn find_id(&self, id_or_name: &str) -> Result<Option<UserId>> {
        match id_or_name.parse() {
            Ok(id) => Ok(Some(id)),
            Err(_) => store::find_id(self.base.db.as_ref(), id_or_name).await,
        }
    }

    /// The full name of a user, deleted or not.
    pub async fn find_name(&self, id: UserId) -> Result<Option<String>> {
        store::find_name(self.base.db.as_ref(), id).await
    }

    pub async fn hash(&self, password: &Secret) -> Result<String> {
        self.passwords.hash(&self.base.env, password).await
    }

    /// Whether the password matches the stored hash: see [`Passwords::verify`].
    pub async fn verify(&self, stored: Option<&str>, password: &Secret) -> Result<Verified> {
        self.passwords.verify(stored, password).await
    }
}
