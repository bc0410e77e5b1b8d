//! What every operation can reach: the parts of the daemon that live as long as it does.

use std::net::IpAddr;
use std::sync::Arc;

use shared::op::Permission;

use crate::aws::Aws;
use crate::caller::Caller;
use crate::cli_login::CliLogin;
use crate::config::Config;
use crate::db::Db;
use crate::ephemeral::Ephemeral;
use crate::keys::KeyRing;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::passwords::Passwords;
use crate::rbac::Rbac;
use crate::sessions::Sessions;
use crate::system::Writes;
use crate::tokens::Tokens;
use crate::world::{Millis, World};

/// The daemon's parts. One per process (or per test).
pub struct App {
    pub config: Config,
    pub world: World,
    pub db: Arc<dyn Db>,
    pub ledger: Arc<Ledger>,
    pub ephemeral: Arc<dyn Ephemeral>,
    pub keys: Arc<KeyRing>,
    pub tokens: Arc<Tokens>,
    pub sessions: Arc<Sessions>,
    pub rbac: Arc<Rbac>,
    pub passwords: Passwords,
    pub cli_login: CliLogin,
    pub aws: Aws,
    pub metrics: Metrics,
    pub writes: Writes,
    pub started_at: Millis,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One call of an operation: the daemon, who calls, from where, under which id. Handlers take it by value, since a
/// borrowed one would keep their futures from being `Send`.
#[derive(Clone, Debug)]
pub struct Ctx {
    pub app: Arc<App>,
    pub caller: Caller,
    /// The client's address, as far as trusted proxies tell; none on the admin socket.
    pub address: Option<IpAddr>,
    pub request_id: RequestId,
    /// The permission of the service `authd` that the operation demands of its caller.
    pub permission: Option<Permission>,
}

impl Ctx {
    pub fn now(&self) -> Millis {
        self.app.world.now()
    }
}

/// Finds one request in the log: a number unique in this process, written with the process' start so that it is
/// unique across restarts. Text is made only when somebody reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    pub process: u32,
    pub number: u64,
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}-{:x}", self.process, self.number)
    }
}
