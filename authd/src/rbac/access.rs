//! What a person may do in a service: one query, cached, since every check asks for it.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::id::{ServiceId, UserId};
use shared::op::Permission;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::{INVALIDATION, store};
use crate::app::App;
use crate::cache::{ALLOCATION, Cache, CacheTrust, Dated, Hash, Weigh};
use crate::caller::Permissions;
use crate::db::{BoxFuture, Db};
use crate::error::{Error, Result};
use crate::ledger::Subscriber;
use crate::names;
use crate::world::Millis;

/// Bytes of cached access, and of cached services.
const ACCESS_BYTES: u64 = 16 << 20;
const SERVICE_BYTES: u64 = 1 << 20;
/// Reads at the same time, at most, and how long one waits for its turn: anybody may ask about services that are not
/// there, and leaves the database to others.
const READS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(2);

/// What a person may do in a service, as things are: names, in order.
#[derive(Debug)]
pub struct Access {
    pub roles: Vec<String>,
    pub permissions: Vec<String>,
    /// What that is on authd itself; nothing in any other service.
    pub authd: Permissions,
    json: String,
    /// Where the roles end in it.
    roles_end: usize,
    scope: String,
    pub(super) read_at: u32,
}

impl Access {
    pub(crate) fn new(mut roles: Vec<String>, mut permissions: Vec<String>) -> Self {
        roles.sort_unstable();
        permissions.sort_unstable();
        let mut json = format!("\"roles\":{}", serde_json::json!(roles));
        let roles_end = json.len();
        json.extend([",\"permissions\":", &serde_json::json!(permissions).to_string()]);
        let scope = names::encode_list(&permissions);
        Self { roles, permissions, authd: Permissions::NONE, json, roles_end, scope, read_at: 0 }
    }

    /// `"roles":[…],"permissions":[…]`, ready to be sent.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// `"roles":[…]`, ready to be sent.
    pub fn roles_json(&self) -> &str {
        &self.json[..self.roles_end]
    }

    /// The permissions as a scope of OAuth: see [`names::encode_list`].
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Whether the person has anything to do with the service.
    pub fn is_any(&self) -> bool {
        !self.roles.is_empty() || !self.permissions.is_empty()
    }

    /// Whether the person has this permission. On authd, `admin` is everything.
    pub fn contains(&self, permission: &str) -> bool {
        let folded = names::fold(permission);
        let is_authds = Permission::parse(&folded).is_some_and(|permission| self.authd.contain(permission));
        is_authds || self.permissions.iter().any(|held| *held == permission || names::fold(held) == folded)
    }
}

impl Weigh for Access {
    fn heap_bytes(&self) -> usize {
        let names = self.roles.iter().chain(&self.permissions);
        let names: usize = names.map(|name| name.capacity() + size_of::<String>() + ALLOCATION).sum();
        names + self.json.capacity() + self.scope.capacity() + 4 * ALLOCATION
    }
}

impl Dated for Access {
    fn read_at(&self) -> u32 {
        self.read_at
    }
}

/// A service that is not deleted.
#[derive(Debug)]
pub struct Service {
    pub id: ServiceId,
    pub name: String,
    pub is_active: bool,
    pub(super) read_at: u32,
}

impl Weigh for Service {
    fn heap_bytes(&self) -> usize {
        self.name.capacity() + ALLOCATION
    }
}

impl Dated for Service {
    fn read_at(&self) -> u32 {
        self.read_at
    }
}

/// The room's state: what was read lately. Every change of users, services, roles, permissions or relations forgets
/// all of it: changes are rare beside checks, and who is affected by a role's permission is not quickly told.
#[derive(Debug)]
pub struct Rbac {
    access: Cache<Access>,
    services: Cache<Service>,
    reads: Semaphore,
}

fn access_key(user: UserId, service: ServiceId) -> Hash {
    let mut key = [0; 32];
    // Backwards: the first bytes of an id are its time, and tell little apart.
    key[..16].copy_from_slice(&user.0.as_u128().to_le_bytes());
    key[16..].copy_from_slice(&service.0.as_u128().to_le_bytes());
    key
}

/// A service as somebody names it.
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
    pub fn new(trust: &CacheTrust) -> Self {
        Self {
            access: Cache::new(ACCESS_BYTES, trust.clone()),
            services: Cache::new(SERVICE_BYTES, trust.clone()),
            reads: Semaphore::new(READS),
        }
    }

    /// What a person may do in a service, if that is known without the database.
    pub fn cached(&self, user: UserId, service: ServiceId, now: Millis) -> Option<Arc<Access>> {
        self.access.find(&access_key(user, service), now)
    }

    /// What a person may do in a service: nothing, if either is not there or not active.
    pub async fn access(&self, app: &App, user: UserId, service: ServiceId) -> Result<Arc<Access>> {
        if let Some(access) = self.cached(user, service, app.world.now()) {
            return Ok(access);
        }
        let _turn = self.turn().await?;
        if let Some(access) = self.cached(user, service, app.world.now()) {
            return Ok(access);
        }
        let key = access_key(user, service);
        let stamp = self.access.stamp(&key);
        let access = Arc::new(store::access::find(app.db.as_ref(), user, service, app.world.now()).await?);
        self.access.refill(stamp, key, Some(&access));
        Ok(access)
    }

    /// A service by id or name, if that is known without the database.
    pub fn cached_service<'a>(&self, named: impl Into<Named<'a>>, now: Millis) -> Option<Arc<Service>> {
        self.services.find(&named.into().key(), now)
    }

    /// A service by id or name, active or not; `None` when there is none.
    pub async fn service<'a>(&self, app: &App, named: impl Into<Named<'a>>) -> Result<Option<Arc<Service>>> {
        let named = named.into();
        if let Some(service) = self.cached_service(named, app.world.now()) {
            return Ok(Some(service));
        }
        let _turn = self.turn().await?;
        if let Some(service) = self.cached_service(named, app.world.now()) {
            return Ok(Some(service));
        }
        let key = named.key();
        let stamp = self.services.stamp(&key);
        let service = store::access::find_service(app.db.as_ref(), named, app.world.now()).await?.map(Arc::new);
        if let Some(service) = &service {
            self.services.refill(stamp, key, Some(service));
        }
        Ok(service)
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        let busy = |why| Error::unavailable("too much access is being looked up; try again", why);
        match tokio::time::timeout(PATIENCE, self.reads.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(busy("the daemon is ending")),
            Err(_) => Err(busy("no turn to read in time")),
        }
    }
}

impl Subscriber for Rbac {
    fn kind(&self) -> &'static str {
        INVALIDATION
    }

    /// Whatever changed, all of it goes.
    fn forget<'a>(&'a self, _: &'a dyn Db, _: Millis, _: &'a str) -> BoxFuture<'a, ()> {
        self.forget_all();
        Box::pin(std::future::ready(()))
    }

    fn forget_all(&self) {
        self.access.forget_all();
        self.services.forget_all();
    }
}
