//! A daemon without sockets for the modules' tests: the registry, a real database (SQLite in a temporary folder, or
//! PostgreSQL), and a clock that moves only by hand.

pub mod peer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use shared::id::UserId;
use shared::problem::Code;
use shared::wire::Parts;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::aws::Aws;
use crate::base::Base;
use crate::call::{Call, RequestId};
use crate::caller::Caller;
use crate::config::{Config, Environment, Sources};
use crate::daemon::{self, Modules};
use crate::db::{
    Batch, BoxFuture, Committed, Db, DbError, Identity, LostCommit, Query, Row, Statement, Urgency, Vitals,
};
use crate::env::{Env, FixedClock, Millis};
use crate::error::Error;
use crate::registry::Registry;
use crate::{authority, ledger};

/// 2027-01-15T08:00:00Z.
pub const NOW: i64 = 1_800_000_000_000;

/// Whether the modules' tests run on PostgreSQL this time: `AUTHD_TEST_ENGINE=postgres`.
pub fn on_postgres() -> bool {
    std::env::var("AUTHD_TEST_ENGINE").is_ok_and(|engine| engine == "postgres")
}

#[expect(missing_debug_implementations, reason = "tests do not print it")]
pub struct TestApp {
    pub config: Config,
    pub base: Base,
    pub modules: Arc<Modules>,
    pub env: Env,
    pub clock: Arc<FixedClock>,
    pub registry: Arc<Registry>,
    db: Arc<Watched>,
    folder: TempDir,
}

impl TestApp {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// With this configuration file.
    pub async fn with(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("authd.toml");
        std::fs::write(&file, toml).unwrap();
        let mut environment = Environment::from([("AUTHD_DATA_DIR".to_owned(), folder.path().display().to_string())]);
        if on_postgres() {
            let url = crate::db::testing::postgres_url().await.expect("AUTHD_TEST_POSTGRES_URL names a server");
            environment.insert("DATABASE_URL".to_owned(), url);
        }
        let sources = Sources { file: Some(file), environment, ..Sources::default() };
        Self::with_config(sources.load().unwrap(), folder, NOW).await
    }

    /// With this configuration file, on the data that is in the folder or in the database that the file names, at this
    /// time.
    pub async fn on(folder: TempDir, toml: &str, now: Millis) -> Self {
        let file = folder.path().join("authd.toml");
        std::fs::write(&file, toml).unwrap();
        let environment = Environment::from([("AUTHD_DATA_DIR".to_owned(), folder.path().display().to_string())]);
        let sources = Sources { file: Some(file), environment, ..Sources::default() };
        Self::with_config(sources.load().unwrap(), folder, now).await
    }

    async fn with_config(config: Config, folder: TempDir, now: Millis) -> Self {
        let (env, clock) = Env::fixed(now);
        Self::open(config, folder, env, clock).await
    }

    async fn open(config: Config, folder: TempDir, env: Env, clock: Arc<FixedClock>) -> Self {
        let inner =
            crate::db::open(&config.database_url().unwrap(), &config.database, &Identity::any(), env.now()).await;
        let inner = inner.unwrap();
        let db = Arc::new(Watched::new(inner));
        let base = daemon::base(&config, env.clone(), db.clone()).await.unwrap();
        let modules = Arc::new(Modules::new(&config, base.clone(), Aws::new(&config.aws, &config.roles)).unwrap());
        db.reads.store(0, Ordering::SeqCst);
        let registry = Arc::new(modules.registry());
        Self { config, base, modules, env, clock, registry, db, folder }
    }

    /// The same with STS somewhere else.
    #[must_use]
    pub fn with_aws(mut self, aws: Aws) -> Self {
        self.modules = Arc::new(Modules::new(&self.config, self.base.clone(), aws).unwrap());
        self.registry = Arc::new(self.modules.registry());
        self
    }

    /// A call by nobody in particular.
    pub fn anonymous(&self) -> Call {
        Call {
            caller: Caller::Anonymous,
            address: Some([127, 0, 0, 1].into()),
            request_id: RequestId { process: 0, number: 0 },
            permission: None,
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Calls an operation as the holder of `ADMIN_TOKEN`: its JSON answer, or the error.
    pub async fn call(&self, operation: &str, fields: Value) -> Result<Value, Error> {
        self.call_as(Caller::AdminToken, operation, fields).await
    }

    pub async fn call_as(&self, caller: Caller, operation: &str, fields: Value) -> Result<Value, Error> {
        call(self.modules.clone(), self.registry.clone(), caller, operation.to_owned(), fields).await
    }

    /// The call on a task of its own.
    pub fn spawn(&self, operation: &str, fields: Value) -> JoinHandle<Result<Value, Error>> {
        tokio::spawn(self.later(operation, fields))
    }

    /// The call as a future of its own.
    pub fn later(&self, operation: &str, fields: Value) -> impl Future<Output = Result<Value, Error>> + Send + 'static {
        self.later_as(Caller::AdminToken, operation, fields)
    }

    pub fn later_as(
        &self,
        caller: Caller,
        operation: &str,
        fields: Value,
    ) -> impl Future<Output = Result<Value, Error>> + Send + 'static {
        call(self.modules.clone(), self.registry.clone(), caller, operation.to_owned(), fields)
    }

    /// The code that a call is refused with.
    pub async fn refused(&self, operation: &str, fields: Value) -> &'static str {
        self.refused_as(Caller::AdminToken, operation, fields).await
    }

    pub async fn refused_as(&self, caller: Caller, operation: &str, fields: Value) -> &'static str {
        match self.call_as(caller, operation, fields).await {
            Ok(answer) => panic!("{operation} was not refused: {answer}"),
            Err(error) => error.code.as_str(),
        }
    }

    /// A user with a password.
    pub async fn user(&self, username: &str, password: &str) -> UserId {
        let hash = self.modules.users.hash(&password.into()).await.unwrap();
        let id = UserId(self.env.uuid());
        let folded = crate::names::fold(username);
        let sql = "INSERT INTO users (id, username, live_name, name, status, password_hash, password_changed_at, \
             created_at, updated_at) VALUES ($1, $2, $3, $2, 'active', $4, $5, $5, $5)";
        let params = [id.into(), username.into(), folded.into(), hash.into(), self.env.now().into()];
        self.base.db.commit(vec![Statement::one("insert_user", sql, params)]).await.unwrap();
        id
    }

    /// The caller who a session's token stands for.
    pub async fn caller(&self, token: &str) -> Result<Caller, Error> {
        self.modules.authentication.authenticate(token, None, true).await
    }

    /// As on a full disk, only what is urgent is written.
    pub fn fill_disk(&self) {
        self.db.full.store(true, Ordering::SeqCst);
    }

    /// Another daemon on the same data, as after a restart.
    pub async fn restarted(self) -> Self {
        let Self { config, folder, env, clock, .. } = self;
        Self::open(config, folder, env, clock).await
    }

    /// Runs this when the next change is about to be committed, after its caller was judged.
    pub fn before_next_change(&self, run: impl Future<Output = ()> + Send + 'static) {
        self.before_next(ledger::AUDIT_ROW, run);
    }

    /// Runs this when the next batch with a statement of this name is about to be committed.
    pub fn before_next(&self, statement: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        *self.db.before.lock().unwrap() = Some((statement, Box::pin(run)));
    }

    /// The next change is not committed before the answer is sent or dropped, as if the disk stood still.
    pub fn stall_next_change(&self) -> oneshot::Sender<()> {
        let (go_on, goes_on) = oneshot::channel();
        self.before_next_change(async move { goes_on.await.unwrap_or_default() });
        go_on
    }

    /// The connection is lost while the next change is committed. Its outcome is known once this is sent.
    pub fn lose_next_change(&self) -> oneshot::Sender<()> {
        let (settle, settled) = oneshot::channel();
        *self.db.lost.lock().unwrap() = Some(settled);
        settle
    }

    /// How long callers wait for the database.
    pub fn set_deadline(&self, deadline: Duration) {
        self.db.deadline.store(u64::try_from(deadline.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Whether what [`TestApp::before_next_change`] was given still waits for a change.
    pub fn awaits_change(&self) -> bool {
        self.db.before.lock().unwrap().is_some()
    }

    /// From now on the database fails, or works again.
    pub fn break_db(&self, broken: bool) {
        self.db.broken.store(broken, Ordering::SeqCst);
    }

    /// Reads of the database so far.
    pub fn db_reads(&self) -> u64 {
        self.db.reads.load(Ordering::SeqCst)
    }

    /// LastUsedWriter that wait to be written.
    pub fn marks_waiting(&self) -> usize {
        self.modules.tokens.uses_waiting()
    }

    /// Writes the marks that wait.
    pub async fn write_marks(&self) {
        self.modules.tokens.write_last_uses(std::future::ready(())).await;
    }
}

async fn call(
    modules: Arc<Modules>,
    registry: Arc<Registry>,
    caller: Caller,
    operation: String,
    fields: Value,
) -> Result<Value, Error> {
    let route = registry.find(&operation).unwrap();
    let mut fields = fields;
    let mut take = |field: &str| Some(fields.as_object_mut()?.remove(field)?.as_str()?.to_owned());
    let headers = route.info.headers.iter().filter_map(|(field, _)| Some((*field, take(field)?)));
    let headers: Vec<(&str, String)> = headers.collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(field, value)| (*field, value.as_str())).collect();
    let body = if route.info.oauth { form(&fields) } else { fields.to_string() };
    let mut caller = caller;
    for tries in 1.. {
        crate::registry::authorize(route.info, &caller)?;
        let call = Call {
            caller: caller.clone(),
            address: Some([127, 0, 0, 1].into()),
            request_id: RequestId { process: 0, number: 0 },
            permission: route.info.permission(),
        };
        match route.call(call, Parts { headers: &headers, body: body.as_bytes(), ..Parts::default() }).await {
            Err(error) if ledger::is_overtaken(&error) && tries < ledger::TRIES => {
                caller = judge_again(&modules, caller).await?;
            }
            answer => return Ok(serde_json::from_slice(&answer?.body).unwrap()),
        }
    }
    unreachable!("the last try is answered");
}

/// What the transport does with the credentials of a caller whose authority was changed: here there are none, so the
/// caller's rows are asked.
async fn judge_again(modules: &Modules, mut caller: Caller) -> Result<Caller, Error> {
    let rows = authority::proof(&caller, [], modules.base.now());
    if modules.base.db.commit(rows).await.is_err() {
        return Err(Error::new(Code::InvalidToken, "it has ended"));
    }
    if let Caller::User { id, permissions, .. } = &mut caller {
        *permissions = modules.rbac.access(*id, crate::rbac::AUTHD).await?.authd;
    }
    Ok(caller)
}

/// Text fields as a form.
fn form(fields: &Value) -> String {
    let fields = fields.as_object().unwrap().iter();
    shared::wire::encode_pairs(fields.map(|(name, value)| (name.as_str(), value.as_str().unwrap())))
}

/// The real database behind a switch and a counter.
struct Watched {
    inner: Arc<dyn Db>,
    broken: AtomicBool,
    /// Only what is urgent is written.
    full: AtomicBool,
    reads: AtomicU64,
    before: Mutex<Option<(&'static str, BoxFuture<'static, ()>)>>,
    lost: Mutex<Option<oneshot::Receiver<()>>>,
    deadline: AtomicU64,
}

impl Watched {
    fn new(inner: Arc<dyn Db>) -> Self {
        let deadline = u64::try_from(inner.deadline().as_millis()).unwrap();
        Self {
            inner,
            broken: AtomicBool::new(false),
            full: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            before: Mutex::default(),
            lost: Mutex::default(),
            deadline: AtomicU64::new(deadline),
        }
    }

    fn fail<'a, T: Send + 'a>(&self) -> Option<BoxFuture<'a, Result<T, DbError>>> {
        self.broken.load(Ordering::SeqCst).then(|| -> BoxFuture<'a, Result<T, DbError>> {
            Box::pin(async { Err(DbError::Unavailable("broken by the test".into())) })
        })
    }
}

impl Db for Watched {
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, DbError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.fail().unwrap_or_else(|| self.inner.query(query))
    }

    fn submit(&self, batch: Batch, urgency: Urgency) -> BoxFuture<'static, Result<Committed, DbError>> {
        if let Some(failed) = self.fail() {
            return failed;
        }
        if self.full.load(Ordering::SeqCst) && urgency == Urgency::Usual {
            return Box::pin(async { Err(DbError::Unavailable("full, says the test".into())) });
        }
        let has = |name: &str| batch.iter().any(|statement| statement.name == name);
        let before = self.before.lock().unwrap().take_if(|(name, _)| has(name)).map(|(_, run)| run);
        let is_lost = has(ledger::AUDIT_ROW) && self.lost.lock().unwrap().is_some();
        let inner = self.inner.clone();
        Box::pin(async move {
            if let Some(before) = before {
                before.await;
            }
            let end = inner.submit(batch, urgency).await;
            if is_lost {
                Err(DbError::Lost(LostCommit { transaction: 7, reason: "cut by the test".into() }))
            } else {
                end
            }
        })
    }

    fn settle(&self, lost: LostCommit) -> BoxFuture<'_, Result<Option<bool>, DbError>> {
        assert_eq!(lost.transaction, 7);
        let mut settled = self.lost.lock().unwrap();
        let answer = settled.as_mut().is_none_or(|settled| settled.try_recv().is_ok()).then_some(true);
        if answer.is_some() {
            *settled = None;
        }
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline.load(Ordering::SeqCst))
    }

    fn vitals(&self) -> &Vitals {
        self.inner.vitals()
    }

    fn clock(&self) -> BoxFuture<'_, Result<Option<Millis>, DbError>> {
        self.inner.clock()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), DbError>> {
        self.inner.close()
    }

    fn backup(&self, to: PathBuf) -> BoxFuture<'_, Result<(), DbError>> {
        self.inner.backup(to)
    }

    fn engine(&self) -> &'static str {
        self.inner.engine()
    }
}
