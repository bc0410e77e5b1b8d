//! authd: one small daemon that holds all the auth logic of a team.
//!
//! Data flows one way: transport -> operation -> model -> store. SQL never meets HTTP.

pub mod app;
pub mod asking;
pub mod audit;
pub mod authority;
pub mod aws;
pub mod cache;
pub mod caller;
pub mod cli_login;
pub mod config;
pub mod db;
pub mod ephemeral;
pub mod error;
#[cfg(test)]
mod fixtures;
pub mod json;
pub mod keys;
pub mod ledger;
pub mod metrics;
pub mod names;
pub mod passwords;
pub mod rbac;
pub mod registry;
pub mod sessions;
pub mod system;
#[cfg(test)]
pub mod testing;
pub mod tokens;
pub mod transport;
pub mod upkeep;
pub mod world;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::watch;

use app::App;
use cache::CacheTrust;
use config::{Config, DatabaseUrl};
use db::Db;
use ephemeral::Ephemeral;
use keys::KeyRing;
use ledger::{Ledger, Subscriber};
use metrics::Metrics;
use registry::Registry;
use tokens::{Marks, Tokens};
use transport::http::Http;
use transport::listen::{self, Listeners};
use world::World;

/// Every room's operations.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    tokens::register(&mut registry);
    sessions::register(&mut registry);
    rbac::register(&mut registry);
    asking::register(&mut registry);
    cli_login::register(&mut registry);
    audit::register(&mut registry);
    system::register(&mut registry);
    registry
}

/// The life of the daemon: open what it stands on, bind, say so, serve until `stop`, drain, write what is left.
/// `ready` is called when both sockets listen.
pub async fn run(
    config: Config,
    world: World,
    ready: impl FnOnce(&App),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let _lock = claim(&config)?;
    let (mut app, marks) = open(config, world).await?;
    let listeners = Listeners::bind(&app.config).await?;
    // Port 0 asks the system for one, and pages and redirects have to name the one that it gave.
    let bound = listeners.public_addr()?;
    let asked = app.config.server.addr;
    if asked != bound {
        let url = &mut app.config.server.public_url;
        *url = url.replace(&format!("http://{asked}"), &format!("http://{bound}"));
        app.config.server.addr = bound;
    }
    let app = Arc::new(app);
    let http = Arc::new(Http::new(app.clone(), registry())?);
    let (stopping, stopped) = watch::channel(false);
    let marking = tokio::spawn(marks.run(app.db.clone(), until(stopped.clone())));
    let keeping = tokio::spawn(upkeep::run(app.clone(), until(stopped)));
    ready(&app);
    listen::serve(listeners, http, stop).await;
    let _ = stopping.send(true);
    let _ = tokio::join!(marking, keeping);
    if let Err(error) = app.db.close().await {
        tracing::warn!(%error, "the database's log stays beside it: copy and replace both together");
    }
    Ok(())
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Opens the database and everything that stands on it.
pub async fn open(config: Config, world: World) -> anyhow::Result<(App, Marks)> {
    let database = config.database_url()?;
    let db = db::open(&database, config.database.max_connections, world.now())
        .await
        .map_err(|error| anyhow::anyhow!("{}", chain(&error)))?;
    build(config, world, db).await
}

/// Opens the key ring and the store of what may vanish, and builds every module on them.
pub async fn build(config: Config, world: World, db: Arc<dyn Db>) -> anyhow::Result<(App, Marks)> {
    rbac::seed(db.as_ref(), &world).await.map_err(|error| anyhow::anyhow!("{}", chain(&error)))?;
    let root = config.keys.root.as_ref().map(|root| root.expose().as_bytes());
    let keys = KeyRing::unlock(db.clone(), root, &config.data_dir, world.clone()).await?;
    let ephemeral: Arc<dyn Ephemeral> = match &config.redis.url {
        Some(url) => Arc::new(ephemeral::redis::RedisEphemeral::open(url.expose())?),
        None => Arc::new(ephemeral::db::DbEphemeral::new(db.clone(), world.clone())),
    };
    let trust = CacheTrust::new(config.is_shared());
    let (tokens, marks) = Tokens::new(&config, trust.clone());
    let tokens = Arc::new(tokens);
    let sessions = Arc::new(sessions::Sessions::new(&config, trust.clone()));
    let rbac = Arc::new(rbac::Rbac::new(&trust));
    let subscribers: Vec<Arc<dyn Subscriber>> = vec![tokens.clone(), sessions.clone(), rbac.clone()];
    let app = App {
        ledger: Arc::new(Ledger::new(db.clone(), world.clone(), trust, subscribers)),
        started_at: world.now(),
        metrics: Metrics::new(registry().routes()),
        writes: system::Writes::default(),
        cli_login: cli_login::CliLogin::new(&config),
        aws: aws::Aws::new(&config),
        sessions,
        rbac,
        passwords: passwords::Passwords::default(),
        keys: Arc::new(keys),
        config,
        world,
        db,
        ephemeral,
        tokens,
    };
    Ok((app, marks))
}

/// An error with its causes, for the person who starts the daemon.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let inner = source.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        next = source.source();
    }
    text
}

/// The data directory, private, and with SQLite claimed by this process: a second daemon on the same file would
/// serve tokens from its cache that the first has revoked. The claim ends with the process, however it ends.
fn claim(config: &Config) -> anyhow::Result<Option<fs::File>> {
    let dir = &config.data_dir;
    make_private(dir)
        .with_context(|| format!("cannot use the data directory {}: set AUTHD_DATA_DIR", dir.display()))?;
    let DatabaseUrl::Sqlite(database) = config.database_url()? else { return Ok(None) };
    if let Some(folder) = database.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let path = database.with_extension("lock");
    let file = fs::OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path);
    let lock = file.with_context(|| format!("cannot write {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(fs::TryLockError::WouldBlock) => {
            bail!("another authd is running on {}; stop it first, or set AUTHD_DATA_DIR", database.display())
        }
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

fn make_private(dir: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode & 0o700))?;
    }
    Ok(())
}
