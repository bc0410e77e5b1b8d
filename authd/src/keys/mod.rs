//! The key ring: the keys that seal stored secrets and derive tokens that can be repeated.
//!
//! Its keys are in the database, so that replicas share them and they can rotate. Each is sealed under the root key,
//! which never rotates. Without the root key the sealed values are lost (provider tokens: people sign in again), but
//! nothing becomes valid; so a missing or wrong one stops the start, and is never silently replaced.
//!
//! A rotated key is kept: its sealed values can be opened, and its tokens derived again. Keys that sign have states
//! instead: see [`signing`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use shared::secret::redacted;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::db::{Cursor, Db, DbError, Identity, Query, Row, Statement};
use crate::env::{Env, Millis};
use crate::error::Error;
use crate::setting::Faults;

mod claims;
mod origin;
pub mod root;
pub mod seal;
pub mod signing;
#[cfg(test)]
mod tests;

pub use claims::Claims;
pub use origin::Origin;
use seal::Secret;
use signing::{SigningKey, Times};

/// `[keys]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// 32 bytes in base64 or hex, under which the key ring is sealed. Empty: `root.key` in the data directory.
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub root: Option<shared::secret::Secret>,
}

impl Config {
    pub fn check(&self, faults: &mut Faults) {
        if let Some(Err(fault)) = self.root.as_ref().map(|text| root::parse(text.expose().as_bytes(), SETTING)) {
            faults.refuse(fault.to_string());
        }
    }

    /// Checks the root key's file, where it is the one in use.
    pub fn check_place(&self, data_dir: &Path, faults: &mut Faults) {
        if self.root.is_none()
            && let Err(fault) = root::read(&data_dir.join(root::FILE))
        {
            faults.refuse(fault.to_string());
        }
    }
}

const SETTING: &str = "keys.root (AUTHD_ROOT_KEY)";

/// The purpose of a key. Keys of one purpose are never used for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Seals values at rest: AES-256-GCM.
    Seal,
    /// Derives the secrets of API tokens created with an `Idempotency-Key`: HMAC-SHA-256.
    Mint,
    /// Derives the refresh tokens of device sessions: HMAC-SHA-256.
    Device,
    /// Part of the tokens of login sessions: HMAC-SHA-256.
    Session,
    /// Signs links to files: HMAC-SHA-256.
    FileLink,
    /// Signs the one-time tokens that are mailed: ES256.
    SignLink,
    /// Signs the second form of session tokens: ES256.
    SignSession,
    /// Derives the tokens of forms: HMAC-SHA-256.
    Form,
}

impl Purpose {
    pub const ALL: [Self; 8] = [
        Self::Seal,
        Self::Mint,
        Self::Device,
        Self::Session,
        Self::FileLink,
        Self::SignLink,
        Self::SignSession,
        Self::Form,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Mint => "mint",
            Self::Device => "device",
            Self::Session => "session",
            Self::FileLink => "file-link",
            Self::SignLink => "sign-link",
            Self::SignSession => "sign-session",
            Self::Form => "form",
        }
    }

    /// The header `typ` of what the purpose signs (RFC 8725 §3.11), so that no other JWT is taken for one.
    const fn typ(self) -> Option<&'static str> {
        match self {
            Self::SignLink => Some("authd-link+jwt"),
            Self::SignSession => Some("authd-session+jwt"),
            Self::Seal | Self::Mint | Self::Device | Self::Session | Self::FileLink | Self::Form => None,
        }
    }

    const fn signs(self) -> bool {
        self.typ().is_some()
    }
}

/// Why a key could not be used, and what to do if possible.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The root key is missing, unreadable, or not the one of this ring.
    #[error("{0}")]
    Root(String),
    /// The key is unknown: another replica has created it since. [`KeyRing::reload`], then try again.
    #[error("the key ring has no key {0}")]
    Unknown(String),
    /// The value was sealed for another context, altered, or not sealed by authd.
    #[error("a sealed value cannot be opened: it was altered, or sealed for another context")]
    Broken,
    #[error("{0}")]
    Db(#[from] DbError),
}

/// None of these is the caller's fault; only a database failure can be temporary.
impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Db(error) => error.into(),
            error => Self::internal(error),
        }
    }
}

/// For every version of the schema.
const LIST_SEALED: &str = "SELECT id, purpose, sealed FROM key_ring";
const LIST: &str = "SELECT id, purpose, sealed, created_at, active_at, retired_at FROM key_ring";
const NONE_FOR: &str = "SELECT id FROM key_ring WHERE purpose = $1";
const INSERT: &str = "INSERT INTO key_ring (id, purpose, sealed, created_at, active_at) VALUES ($1, $2, $3, $4, $5)";
const RETIRE: &str = "UPDATE key_ring SET retired_at = $2 WHERE purpose = $1 AND retired_at IS NULL";
const FORGET: &str = "INSERT INTO invalidations (kind, subject, at) VALUES ($1, $2, $3)";

/// The `kind` of the invalidation that [`KeyRing::rotate`] writes; a node that reads one reloads the ring.
pub const INVALIDATION: &str = "keys";

/// How long another replica that starts at the same time may take between its root key and its ring.
const BEGUN_WITHIN: Duration = Duration::from_secs(1);

/// The first byte of every sealed value.
const VERSION: u8 = 1;

/// The loaded keys. One per process, shared.
pub struct KeyRing {
    db: Arc<dyn Db>,
    env: Env,
    root: Secret,
    keys: RwLock<Arc<Keys>>,
    /// When an unknown key was last looked for in the database.
    reloaded_at: AtomicI64,
}

/// Keys by id. Ids sort by creation, so the last secret of a purpose is the current one.
#[derive(Default)]
struct Keys {
    secrets: BTreeMap<Uuid, (Purpose, Secret)>,
    signing: BTreeMap<Uuid, (Purpose, SigningKey)>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing")
    }
}

impl KeyRing {
    /// Loads the ring, and creates missing keys; a root key only together with the first ring.
    ///
    /// `configured` is the value of `AUTHD_ROOT_KEY`, its file or its credential, as text; without it the root key is
    /// the file `root.key` in the data dir. A database without keys is refused if it should have some: see [`Origin`].
    pub async fn unlock(
        db: Arc<dyn Db>,
        configured: Option<&[u8]>,
        origin: &Origin,
        env: Env,
    ) -> Result<Self, KeyError> {
        let mut rows = db.query(Query::new(LIST, [])).await?;
        if rows.is_empty() && origin.check_new().is_err() {
            // Unless another replica creates it at this moment.
            tokio::time::sleep(BEGUN_WITHIN).await;
            rows = db.query(Query::new(LIST, [])).await?;
            if rows.is_empty() {
                origin.check_new()?;
            }
        }
        let path = origin.root_key();
        let is_new = configured.is_none() && rows.is_empty() && !path.exists() && root::create(&path, &env)?;
        let root = find_root(configured, origin)?;
        let (keys, reloaded_at) = (RwLock::default(), AtomicI64::new(Millis::MIN));
        let ring = Self { db, env, root, keys, reloaded_at };
        let loaded = ring.complete(&rows).await;
        if is_new && matches!(loaded, Err(KeyError::Root(_))) {
            // Another replica was first, with its own root key: ours is unused and would be misleading.
            std::fs::remove_file(&path).ok();
        }
        loaded?;
        origin.remember();
        Ok(ring)
    }

    /// Creates the missing keys, unless another replica does so concurrently.
    async fn complete(&self, rows: &[Row]) -> Result<(), KeyError> {
        self.load(rows)?;
        let known = self.keys();
        let missing = Purpose::ALL.into_iter().filter(|purpose| !known.has(*purpose));
        // In one batch: of two replicas that start with different root keys, one creates the whole ring.
        let none = missing.clone().map(|purpose| Ok(Statement::absent("no_key", NONE_FOR, [purpose.name().into()])));
        let batch = none
            .chain(missing.map(|purpose| self.insert(purpose, self.env.now())))
            .collect::<Result<Vec<_>, KeyError>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        match self.db.commit(batch).await {
            Ok(_) | Err(DbError::ExpectationFailed(_)) => self.reload().await,
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the ring again: another replica may have rotated a key.
    pub async fn reload(&self) -> Result<(), KeyError> {
        let rows = self.db.query(Query::new(LIST, [])).await?;
        self.load(&rows)
    }

    fn load(&self, rows: &[Row]) -> Result<(), KeyError> {
        let keys = Keys::open(&self.root, rows)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    fn keys(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The statement that inserts a new key; one that signs does so from `active_at`.
    fn insert(&self, purpose: Purpose, active_at: Millis) -> Result<Statement, KeyError> {
        let id = self.env.uuid().to_string();
        let mut secret = Zeroizing::new(self.env.bytes::<32>());
        while purpose.signs() && !signing::is_private_key(&secret) {
            secret = Zeroizing::new(self.env.bytes::<32>());
        }
        let sealed = seal::seal(&self.root, &root_context(purpose, &id), secret.as_slice(), &self.env)?;
        let active_at = purpose.signs().then_some(active_at);
        let row = [id.into(), purpose.name().into(), sealed.into(), self.env.now().into(), active_at.into()];
        Ok(Statement::one("insert_key", INSERT, row))
    }

    /// Adds a key that is used from now on; the old ones still open and verify. The invalidation in the same batch
    /// informs other replicas.
    ///
    /// A key that signs is used later, when every node knows it, and the old ones verify until their last tokens, of
    /// this longest life, have expired.
    pub async fn rotate(&self, purpose: Purpose, longest_token: Millis) -> Result<(), KeyError> {
        let now = self.env.now();
        let (retired_at, times) = signing::rotation(now, longest_token);
        let (retired_at, active_at) = if purpose.signs() { (retired_at, times.active_at) } else { (now, now) };
        let batch = vec![
            Statement::any("retire_keys", RETIRE, [purpose.name().into(), retired_at.into()]),
            self.insert(purpose, active_at)?,
            Statement::one("invalidate", FORGET, [INVALIDATION.into(), purpose.name().into(), now.into()]),
        ];
        self.db.commit(batch).await?;
        self.reload().await
    }

    /// Seals a value for a context, such as `sessions.sealed` and the row's id: version, key id, nonce, ciphertext.
    pub fn seal(&self, context: &str, plaintext: &[u8]) -> Result<Vec<u8>, KeyError> {
        let keys = self.keys();
        let (id, key) = keys.find(Purpose::Seal, None)?;
        let sealed = seal::seal(key, context.as_bytes(), plaintext, &self.env)?;
        Ok([&[VERSION], id.as_bytes().as_slice(), &sealed].concat())
    }

    /// Opens a value that was sealed for this context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let Some((&[VERSION], rest)) = sealed.split_first_chunk::<1>() else { return Err(KeyError::Broken) };
        let (id, rest) = rest.split_first_chunk::<16>().ok_or(KeyError::Broken)?;
        let keys = self.keys();
        let (_, key) = keys.find(Purpose::Seal, Some(Uuid::from_bytes(*id)))?;
        seal::open(key, context.as_bytes(), rest)
    }

    /// HMAC-SHA-256 over the parts, each prefixed by its length, so that no two lists of parts are the same message.
    /// Also returns the id of the key, with which the value can be repeated; `None` takes the current key.
    pub fn mac(
        &self,
        purpose: Purpose,
        key_id: Option<&str>,
        parts: &[&[u8]],
    ) -> Result<(String, Zeroizing<[u8; 32]>), KeyError> {
        if purpose == Purpose::Seal {
            // One key, one algorithm. Keys that sign are not among the secrets.
            return Err(KeyError::Unknown("that both seals and derives".to_owned()));
        }
        let wanted = key_id.map(|id| Uuid::parse_str(id).map_err(|_| KeyError::Unknown(id.to_owned()))).transpose()?;
        let keys = self.keys();
        let (id, key) = keys.find(purpose, wanted)?;
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()));
        for part in [b"authd mac 1", purpose.name().as_bytes()].iter().chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut mac = Zeroizing::new([0; 32]);
        mac.copy_from_slice(context.sign().as_ref());
        Ok((id.to_string(), mac))
    }
}

impl Keys {
    fn open(root: &Secret, rows: &[Row]) -> Result<Self, KeyError> {
        let mut keys = Self::default();
        for row in rows {
            let mut row = row.cursor();
            let Some((id, purpose, secret)) = open_row(root, &mut row)? else { continue };
            if purpose.signs() {
                let created_at = row.int()?;
                let active_at = row.opt(Cursor::int)?.unwrap_or(created_at);
                let times = Times { active_at, retired_at: row.opt(Cursor::int)? };
                keys.signing.insert(id, (purpose, SigningKey::new(&secret, times)?));
            } else {
                keys.secrets.insert(id, (purpose, secret));
            }
        }
        Ok(keys)
    }

    fn has(&self, purpose: Purpose) -> bool {
        self.find(purpose, None).is_ok() || self.signing.values().any(|(of, _)| *of == purpose)
    }

    /// The secret of this id, or the current one.
    fn find(&self, purpose: Purpose, id: Option<Uuid>) -> Result<(Uuid, &Secret), KeyError> {
        let found = match id {
            Some(id) => self.secrets.get_key_value(&id),
            None => self.secrets.iter().rfind(|(_, (of, _))| *of == purpose),
        };
        match found {
            Some((id, (of, key))) if *of == purpose => Ok((*id, key)),
            _ => Err(KeyError::Unknown(id.map_or_else(|| format!("for {}", purpose.name()), |id| id.to_string()))),
        }
    }
}

/// The id, purpose and secret of a row; `None` for a purpose of a newer release.
fn open_row(root: &Secret, row: &mut Cursor<'_>) -> Result<Option<(Uuid, Purpose, Secret)>, KeyError> {
    let (id, name) = (row.text()?, row.text()?);
    let sealed = row.bytes()?;
    let Some(purpose) = Purpose::ALL.into_iter().find(|purpose| purpose.name() == name) else { return Ok(None) };
    let secret = seal::open(root, &root_context(purpose, id), sealed).map_err(|_| {
        KeyError::Root(
            "the root key is not the one that the keys in the database are sealed under: set AUTHD_ROOT_KEY or \
             AUTHD_ROOT_KEY_FILE (or root.key in the data dir) to the one of the other replicas or the backup"
                .to_owned(),
        )
    })?;
    let id = Uuid::parse_str(id).map_err(|_| KeyError::Unknown(id.to_owned()))?;
    let secret = <[u8; 32]>::try_from(secret.as_slice()).map(Zeroizing::new).map_err(|_| KeyError::Broken)?;
    Ok(Some((id, purpose, secret)))
}

/// Tells whether a database is the one that this root key has sealed, before it is migrated.
pub fn identity(configured: Option<&[u8]>, origin: Origin) -> Identity {
    let configured = configured.map(|text| Zeroizing::new(text.to_vec()));
    let check = move |rows: Option<&[Row]>| match rows {
        None => origin.check_new(),
        // It has a schema: another replica may be about to create the keys.
        Some([]) => Ok(()),
        Some(rows) => find_root(configured.as_ref().map(|text| text.as_slice()), &origin)
            .and_then(|root| rows.iter().try_for_each(|row| open_row(&root, &mut row.cursor()).map(drop))),
    };
    Identity::new(LIST_SEALED, move |rows| check(rows).map_err(|error| error.to_string()))
}

/// The root key that is configured, or else the one in the data dir.
fn find_root(configured: Option<&[u8]>, origin: &Origin) -> Result<Secret, KeyError> {
    let Some(text) = configured else {
        let path = origin.root_key();
        return root::read(&path)?.ok_or_else(|| {
            KeyError::Root(format!(
                "the keys in the database are sealed under a root key that is not here: set AUTHD_ROOT_KEY or \
                 AUTHD_ROOT_KEY_FILE to the one of the other replicas, or restore it from the backup as {}",
                path.display()
            ))
        });
    };
    root::parse(text, SETTING)
}

/// Binds a key of the ring to its row.
fn root_context(purpose: Purpose, id: &str) -> Vec<u8> {
    format!("authd key ring 1:{}:{id}", purpose.name()).into_bytes()
}
