//! What every operation can reach: the parts of the daemon that live as long as it does.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::aws::Aws;
use crate::caller::Caller;
use crate::cli_login::CliLogin;
use crate::config::Config;
use crate::db::Db;
use crate::ephemeral::Ephemeral;
use crate::keys::KeyRing;
use crate::metrics::Metrics;
use crate::passwords::Passwords;
use crate::rbac::Rbac;
use crate::sessions::Sessions;
use crate::system::Writes;
use crate::tokens::Tokens;
use crate::world::{Millis, World};

/// After this long a commit that was given up has happened, or will not.
const LATE_COMMIT: Duration = Duration::from_secs(15);

/// The daemon's parts. One per process (or per test).
pub struct App {
    pub config: Config,
    pub world: World,
    pub db: Arc<dyn Db>,
    pub ephemeral: Arc<dyn Ephemeral>,
    pub keys: Arc<KeyRing>,
    pub tokens: Tokens,
    pub sessions: Sessions,
    pub rbac: Rbac,
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

impl App {
    /// To be called when a commit's outcome is not known: it may have happened without its answer reaching us, or may
    /// still happen until the database gives up. Nothing that was cached is believed, now and once more by then.
    pub fn distrust(self: &Arc<Self>) {
        self.forget_all();
        let app = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LATE_COMMIT).await;
            app.forget_all();
        });
    }

    fn forget_all(&self) {
        self.rbac.forget_all();
        self.sessions.forget_all();
        self.tokens.forget_all();
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
