//! A person's access to a service: one query, cached, since every check needs it.

use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use shared::id::{ServiceId, UserId};
use shared::op::Permission;
use shared::problem::Code;
use uuid::Uuid;

use super::{Rbac, store};
use crate::cache::{ALLOCATION, Cached, Hash};
use crate::caller::Permissions;
use crate::db::{BoxFuture, Db};
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::ledger::{ACCESS, Subscriber};
use crate::names;

/// A person's current access to a service: names, in order.
#[derive(Debug)]
pub struct Access {
    pub roles: Vec<String>,
    pub permissions: Vec<String>,
    /// The permissions on authd itself; empty for any other service.
    pub authd: Permissions,
    /// The same lists as JSON.
    pub roles_json: Box<RawValue>,
    pub permissions_json: Box<RawValue>,
    /// The permissions as an OAuth scope: see [`names::encode_list`].
    pub scope: String,
}

/// A service, active or not, and what a person may do there.
pub type InService = (Cached<Service>, Cached<Access>);

impl Access {
    pub fn new(mut roles: Vec<String>, mut permissions: Vec<String>) -> Result<Self> {
        roles.sort_unstable();
        permissions.sort_unstable();
        Ok(Self {
            roles_json: to_raw_value(&roles).map_err(Error::internal)?,
            permissions_json: to_raw_value(&permissions).map_err(Error::internal)?,
            scope: names::encode_list(&permissions),
            authd: Permissions::NONE,
            roles,
            permissions,
        })
    }

    /// Whether the person has any role or permission in the service.
    pub fn is_any(&self) -> bool {
        !self.roles.is_empty() || !self.permissions.is_empty()
    }

    /// Whether the person has this permission. On authd, `admin` is everything.
    pub fn contains(&self, permission: &str) -> bool {
        let folded = names::fold(permission);
        self.of_authd(&folded) || self.permissions.iter().any(|held| *held == permission || names::fold(held) == folded)
    }

    /// Whether it is a permission of authd's own, by its folded name, that the person has there.
    pub fn of_authd(&self, folded: &str) -> bool {
        Permission::parse(folded).is_some_and(|permission| self.authd.contain(permission))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let names = self.roles.iter().chain(&self.permissions);
        let names: usize = names.map(|name| name.capacity() + size_of::<String>() + ALLOCATION).sum();
        let json = self.roles_json.get().len() + self.permissions_json.get().len();
        names + json + self.scope.capacity() + 5 * ALLOCATION
    }
}

/// A service that is not deleted.
#[derive(Debug)]
pub struct Service {
    pub id: ServiceId,
    pub name: String,
    pub is_active: bool,
}

fn access_key(user: UserId, service: ServiceId) -> Hash {
    let mut key = [0; 32];
    // Little-endian: the first bytes of an id are its time, and hardly differ.
    key[..16].copy_from_slice(&user.0.as_u128().to_le_bytes());
    key[16..].copy_from_slice(&service.0.as_u128().to_le_bytes());
    key
}

/// A reference to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    Id(ServiceId),
    Name(&'a str),
}

impl<'a> From<&'a str> for Named<'a> {
    fn from(id_or_name: &'a str) -> Self {
        id_or_name.parse().map_or(Self::Name(id_or_name), Self::Id)
    }
}

impl From<ServiceId> for Named<'_> {
    fn from(id: ServiceId) -> Self {
        Self::Id(id)
    }
}

impl Named<'_> {
    fn key(self) -> Hash {
        match self {
            Self::Id(id) => access_key(UserId(Uuid::nil()), id),
            Self::Name(name) => Sha256::digest(name).into(),
        }
    }
}

impl Rbac {
    /// What a person may do in a service: nothing, if either is not there or not active.
    pub async fn access(&self, user: UserId, service: ServiceId) -> Result<Cached<Access>> {
        let read = async { store::access::find(self.base.db.as_ref(), user, service).await.map(Some) };
        let access = self.access.get_or_read(access_key(user, service), &self.base.env, read).await?;
        access.ok_or_else(|| Error::internal("access is always found"))
    }

    /// A service by id or name, and what a person may do there, if both are cached.
    pub fn recall<'a>(&self, named: impl Into<Named<'a>>, user: UserId) -> Option<InService> {
        let now = self.base.now();
        let service = self.services.find(&named.into().key(), now)?;
        let access = self.access.find(&access_key(user, service.id), now)?;
        Some((service, access))
    }

    /// A service by id or name, active or not; `None` if there is none.
    pub async fn service<'a>(&self, named: impl Into<Named<'a>>) -> Result<Option<Cached<Service>>> {
        let named = named.into();
        let read = store::access::find_service(self.base.db.as_ref(), named);
        self.services.get_or_read(named.key(), &self.base.env, read).await
    }

    /// The service of a service token; the token is invalid if its service is.
    pub async fn own_service(&self, own: ServiceId) -> Result<Cached<Service>> {
        let service = self.service(own).await?.filter(|service| service.is_active);
        service.ok_or_else(|| Error::new(Code::InvalidToken, "the service of this token is not active"))
    }
}

impl Subscriber for Rbac {
    fn kind(&self) -> &'static str {
        ACCESS
    }

    /// Every change clears the whole cache: changes are rare compared to checks, and the people affected by a role's
    /// permission are expensive to find.
    fn forget<'a>(&'a self, _: &'a dyn Db, _: Millis, _: &'a str) -> BoxFuture<'a, ()> {
        self.forget_all();
        Box::pin(std::future::ready(()))
    }

    fn forget_all(&self) {
        self.access.forget_all();
        self.services.forget_all();
    }
}
