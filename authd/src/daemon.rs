//! The composition root, the only file that knows every module: open, build, bind, serve, drain.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;

use crate::accounts::Accounts;
use crate::audit::Audit;
use crate::authentication::Authentication;
use crate::aws::Aws;
use crate::backups::Backups;
use crate::base::Base;
use crate::checks::Checks;
use crate::cleanup;
use crate::cli_login::CliLogin;
use crate::cli_login::local::Local;
use crate::config::{Config, ConfigError};
use crate::db::{self, DatabaseUrl, Db};
use crate::env::Env;
use crate::ephemeral::Ephemeral;
use crate::ephemeral::db::DbEphemeral;
use crate::ephemeral::redis::RedisEphemeral;
use crate::error::Chain;
use crate::files::Files;
use crate::forward_auth::ForwardAuth;
use crate::introspection::Introspection;
use crate::keys::{self, KeyRing, Origin};
use crate::mail::Mail;
use crate::metrics::Metrics;
use crate::oidc_client;
use crate::rbac::{self, Rbac};
use crate::registry::Registry;
use crate::sessions::Sessions;
use crate::setting::Faults;
use crate::system::{About, System};
use crate::tokens::{Tokens, Validations};
use crate::transport::http::Http;
use crate::transport::listen::{self, Listeners};
use crate::transport::pages::{Mount, PageTemplates, Pages};
use crate::users::Users;
use crate::web_login::WebLogin;

/// How long the end waits for logins and renewals whose client has disconnected.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Every module.
#[derive(Debug)]
pub struct Modules {
    pub base: Base,
    pub metrics: Arc<Metrics>,
    pub tokens: Arc<Tokens>,
    pub users: Arc<Users>,
    pub sessions: Arc<Sessions>,
    pub rbac: Arc<Rbac>,
    pub authentication: Arc<Authentication>,
    pub files: Arc<Files>,
    pub accounts: Arc<Accounts>,
    pub web_login: Arc<WebLogin>,
    pub cli_login: Arc<CliLogin>,
    pub checks: Arc<Checks>,
    pub introspection: Arc<Introspection>,
    pub forward_auth: Arc<ForwardAuth>,
    pub mail: Arc<Mail>,
    pub audit: Arc<Audit>,
    pub backups: Arc<Backups>,
    pub system: Arc<System>,
}

impl Modules {
    /// Builds every module on what they stand on, from the bottom up.
    pub fn new(config: &Config, base: Base, aws: Aws) -> anyhow::Result<Self> {
        let mut metrics = Metrics::default();
        let validations = Validations::new(&mut metrics);
        let tokens = Tokens::new(&base, config.tokens.clone(), &config.cache, validations);
        let users = Users::new(&base);
        let url = &config.server.public_url;
        let sessions = Sessions::new(&base, &config.sessions, url, users.clone());
        let rbac = Rbac::new(&base, tokens.clone(), users.clone());
        let (t, s, r) = (|| tokens.clone(), || sessions.clone(), || rbac.clone());
        let mail = Mail::new(&base, config.mail.clone(), url, &mut metrics)?;
        let files = Files::new(&base, config.files.clone(), url, users.clone(), &mut metrics);
        let (providers, roles) = (oidc_client::clients(config.providers.clone()), config.roles.clone());
        let local = Local::new(&base, &config.local, url, r());
        let about = About {
            public_url: url.clone(),
            listen: [config.server.addr.to_string()]
                .into_iter()
                .chain(config.admin.addr.map(|addr| addr.to_string()))
                .chain([config.admin.socket.display().to_string()])
                .collect(),
            providers: config.provider_names().map(str::to_owned).collect(),
            roles: roles.iter().map(|role| role.name.clone()).collect(),
        };
        let authentication = Authentication::new(config.admin.token.clone(), t(), s(), r());
        let accounts = Accounts::new(
            &base,
            (config.login.clone(), config.accounts.clone(), config.passkeys.clone()),
            (url, config.providers.iter().filter(|provider| provider.web).cloned().collect()),
            users.clone(),
            s(),
            r(),
            mail.clone(),
        );
        let web_login = WebLogin::new(&base, &config.web, url, &providers, authentication.clone(), accounts.clone());
        Ok(Self {
            authentication,
            accounts,
            cli_login: CliLogin::new(&base, (config.cli.clone(), url), providers, local, roles, s(), Arc::new(aws)),
            checks: Checks::new(t(), s(), r()),
            introspection: Introspection::new(&base, url, t(), s(), r()),
            forward_auth: ForwardAuth::new(config.policies.clone(), web_login.cookies.clone(), t(), s(), r()),
            web_login,
            mail,
            files,
            audit: Audit::new(&base),
            backups: Backups::new(&base, &config.data_dir),
            system: System::new(&base, about),
            metrics: Arc::new(metrics),
            base,
            tokens,
            users,
            sessions,
            rbac,
        })
    }

    /// Every module's operations.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        self.tokens.register(&mut registry);
        self.sessions.register(&mut registry);
        self.rbac.register(&mut registry);
        self.files.register(&mut registry);
        self.accounts.register(&mut registry);
        self.checks.register(&mut registry);
        self.introspection.register(&mut registry);
        self.cli_login.register(&mut registry);
        self.mail.register(&mut registry);
        self.audit.register(&mut registry);
        self.backups.register(&mut registry);
        self.system.register(&mut registry);
        registry
    }

    /// Builds the HTTP service.
    pub fn http(&self, config: &Config) -> anyhow::Result<Http> {
        Http::new(
            config.server.clone(),
            config.admin.clone(),
            &self.base.env,
            self.registry(),
            self.authentication.clone(),
            self.forward_auth.clone(),
            self.pages(config)?,
        )
    }

    /// Builds what answers browsers.
    pub fn pages(&self, config: &Config) -> anyhow::Result<Pages> {
        let templates = match PageTemplates::load(config.web.templates()) {
            Ok(templates) => templates,
            Err(faults) => bail!(faults.join("\n")),
        };
        Ok(Pages {
            mount: Mount::of(&config.server.public_url),
            docs: OnceLock::new(),
            public_url: config.server.public_url.clone(),
            metrics: self.metrics.clone(),
            cli_login: self.cli_login.clone(),
            accounts: self.accounts.clone(),
            sessions: self.sessions.clone(),
            web_login: self.web_login.clone(),
            templates,
            files: self.files.clone(),
        })
    }
}

/// Runs the daemon: open database and keys, bind, build, report, serve until `stop`, drain, write what is left.
/// `ready` is called when both sockets listen, with the configuration as it is in effect.
pub async fn run(
    mut config: Config,
    env: Env,
    ready: impl FnOnce(&Config, &dyn Db),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    for warning in check_places(&config)? {
        tracing::warn!("{warning}");
    }
    let _lock = claim(&config)?;
    // Somebody else may have made a folder that was missing.
    check_places(&config)?;
    let base = open(&config, env).await?;
    // Before the modules are built: with port 0 the system chooses the port, which pages and redirects must name.
    let listeners = Listeners::bind(&config.server, &config.admin).await?;
    config.bound_to(listeners.public.local_addr()?);
    if let Some(management) = &listeners.management {
        config.admin.addr = Some(management.local_addr()?);
    }
    let modules = Modules::new(&config, base, Aws::new(&config.aws, &config.roles))?;
    let http = Arc::new(modules.http(&config)?);
    let (stopping, stopped) = watch::channel(false);
    let (tokens, cli_login, db) = (modules.tokens.clone(), modules.cli_login.clone(), modules.base.db.clone());
    let tasks = [
        tokio::spawn({
            let stop = until(stopped.clone());
            async move { tokens.write_last_uses(stop).await }
        }),
        tokio::spawn({
            let stop = until(stopped.clone());
            async move { cli_login.tell_providers(stop).await }
        }),
        tokio::spawn({
            let (system, stop) = (modules.system.clone(), until(stopped.clone()));
            async move { system.compare_clocks(stop).await }
        }),
        tokio::spawn({
            let (mail, stop) = (modules.mail.clone(), until(stopped.clone()));
            async move { mail.deliver(stop).await }
        }),
        tokio::spawn({
            let (files, stop) = (modules.files.clone(), until(stopped.clone()));
            async move { files.sweep(stop).await }
        }),
        tokio::spawn(cleanup::run(modules.base.clone(), until(stopped))),
    ];
    modules.forward_auth.warn().await;
    if let Some(local) = &modules.cli_login.local {
        local.warn().await;
    }
    ready(&config, db.as_ref());
    listen::serve(listeners, http, stop).await;
    let _ = stopping.send(true);
    for task in tasks {
        let _ = task.await;
    }
    tokio::join!(modules.accounts.detached.finish(FINISH_TIMEOUT), modules.cli_login.detached.finish(FINISH_TIMEOUT));
    modules.base.background.end();
    if let Err(error) = db.close().await {
        tracing::warn!(%error, "the database's log was not emptied: copy and replace database and log together");
    }
    Ok(())
}

/// Refuses what is not as it must be on this machine; returns the warnings. It may be mended without another
/// configuration (a disk that is mounted late), so it is no [`ConfigError`], after which a supervisor gives up.
fn check_places(config: &Config) -> anyhow::Result<Vec<String>> {
    let mut faults = Faults::default();
    config.check_places(&mut faults);
    anyhow::ensure!(faults.refused.is_empty(), ConfigError(faults.refused).to_string());
    Ok(faults.warned)
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Opens the database and everything that depends on it.
async fn open(config: &Config, env: Env) -> anyhow::Result<Base> {
    // Before the file is created: it may be on a file system that is not mounted yet.
    check_new(config)?;
    let url = database(config)?;
    let identity = keys::identity(root(config), origin(config, &url));
    let db = db::open(&url, &config.database, &identity, env.now()).await;
    base(config, env, db.map_err(told)?).await
}

/// Opens the key ring and the ephemeral store.
pub async fn base(config: &Config, env: Env, db: Arc<dyn Db>) -> anyhow::Result<Base> {
    let origin = origin(config, &database(config)?);
    let keys = KeyRing::unlock(db.clone(), root(config), &origin, env.clone()).await?;
    rbac::seed(db.as_ref(), &env).await.map_err(told)?;
    let ephemeral: Arc<dyn Ephemeral> = match &config.redis.url {
        Some(url) => Arc::new(RedisEphemeral::open(url.expose())?),
        None => Arc::new(DbEphemeral::new(db.clone(), env.clone())),
    };
    let is_shared = matches!(config.database_url()?, DatabaseUrl::Postgres(_));
    Ok(Base::new(env, db, Arc::new(keys), ephemeral, is_shared))
}

/// An error with its causes, for the person who starts the daemon.
fn told(error: impl std::error::Error + 'static) -> anyhow::Error {
    anyhow::anyhow!("{}", Chain(&error))
}

fn root(config: &Config) -> Option<&[u8]> {
    config.keys.root.as_ref().map(|root| root.expose().as_bytes())
}

fn origin(config: &Config, database: &DatabaseUrl) -> Origin {
    Origin {
        data_dir: config.data_dir.clone(),
        database: database.to_string(),
        is_configured: config.keys.root.is_some(),
        may_be_new: config.new_database,
    }
}

fn database(config: &Config) -> anyhow::Result<DatabaseUrl> {
    Ok(config.database_url()?.resolved())
}

/// Refuses a start that would begin a database where there was one.
pub fn check_new(config: &Config) -> anyhow::Result<()> {
    let url = database(config)?;
    // PostgreSQL is asked at the start.
    if let DatabaseUrl::Sqlite(path) = &url
        && fs::metadata(path).map_or(0, |file| file.len()) == 0
    {
        origin(config, &url).check_new()?;
    }
    Ok(())
}

/// Puts a backup in the place of the SQLite database, if no daemon runs on it.
pub fn restore(config: &Config, backup: impl Read, is_replacing: bool) -> anyhow::Result<()> {
    for warning in check_places(config)? {
        tracing::warn!("{warning}");
    }
    let DatabaseUrl::Sqlite(path) = database(config)? else {
        bail!("the database is PostgreSQL, which is restored with its own tools, such as pg_restore");
    };
    let _lock = claim(config)?;
    if !is_replacing && fs::metadata(&path).is_ok_and(|file| file.len() > 0) {
        bail!("{} has data already; to lose it and use the backup instead, repeat this with --replace", path.display());
    }
    let identity = keys::identity(root(config), origin(config, &DatabaseUrl::Sqlite(path.clone())));
    db::restore(backup, &path, &identity).map_err(told)
}

/// Creates the data directory, private, and locks it with SQLite: a second daemon on the same file would serve tokens
/// from its cache that the first has revoked. The lock ends with the process. Nobody else can hold it: everything that
/// is made here is private from the first moment.
fn claim(config: &Config) -> anyhow::Result<Option<fs::File>> {
    let dir = &config.data_dir;
    private_dirs(dir)
        .with_context(|| format!("cannot use the data directory {}: set AUTHD_DATA_DIR", dir.display()))?;
    if let DatabaseUrl::Sqlite(database) = config.database_url()?
        && let Some(folder) = database.parent()
    {
        private_dirs(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let DatabaseUrl::Sqlite(database) = database(config)? else { return Ok(None) };
    let path = database.with_extension("lock");
    let lock = open_lock(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(fs::TryLockError::WouldBlock) => {
            bail!("another authd is running on {}; stop it first, or set AUTHD_DATA_DIR", database.display())
        }
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Opens the file of the lock. A link is not followed, and an earlier release's file, which others could open and so
/// lock, is made private.
fn open_lock(path: &Path) -> std::io::Result<fs::File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = fs::OpenOptions::new();
    let lock = options.create(true).write(true).truncate(false).mode(0o600).custom_flags(no_follow).open(path)?;
    if lock.metadata()?.permissions().mode() & 0o077 != 0 {
        lock.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(lock)
}

fn private_dirs(dir: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
