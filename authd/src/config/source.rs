//! The sources of settings, and their precedence.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_path_to_error::Segment;
use shared::secret::Secret;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::{Config, ConfigError};
use crate::setting::{Faults, nearest};

/// The largest configuration or secret file that is read.
const MAX_FILE: u64 = 1 << 20;

/// How a variable's text becomes a TOML value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A secret; also read from `<VARIABLE>_FILE` and from a systemd credential.
    Secret,
    Int,
    Bool,
    /// Separated by commas or white space, such as one a line.
    List,
}

/// Every environment variable, with the key of the file that it sets.
pub(super) const VARIABLES: &[(&str, &str, Kind)] = &[
    ("SERVER_ADDR", "server.addr", Kind::Text),
    ("AUTHD_PUBLIC_URL", "server.public_url", Kind::Text),
    ("AUTHD_HOSTS", "server.hosts", Kind::List),
    ("AUTHD_TRUSTED_PROXIES", "server.trusted_proxies", Kind::List),
    ("AUTHD_MAX_CONNECTIONS", "server.max_connections", Kind::Int),
    ("AUTHD_ADMIN_SOCKET", "admin.socket", Kind::Text),
    ("AUTHD_ADMIN_ADDR", "admin.addr", Kind::Text),
    ("ADMIN_TOKEN", "admin.token", Kind::Secret),
    ("AUTHD_DATA_DIR", "data_dir", Kind::Text),
    ("DATABASE_URL", "database.url", Kind::Secret),
    ("REDIS_URL", "redis.url", Kind::Secret),
    ("AUTHD_ROOT_KEY", "keys.root", Kind::Secret),
    ("TOKEN_PREFIX", "tokens.prefix", Kind::Text),
    ("TOKEN_TTL_SECONDS", "sessions.ttl_seconds", Kind::Int),
    ("TOKEN_RENEW_THRESHOLD_SECONDS", "sessions.renew_threshold_seconds", Kind::Int),
    ("AUTHD_ALLOW_UNBOUND_POLLING", "cli.allow_unbound_polling", Kind::Bool),
    ("AUTHD_LOCAL", "local.enabled", Kind::Bool),
    ("AUTHD_LOCAL_SERVICE", "local.service", Kind::Text),
    ("AUTHD_LOG_FORMAT", "log.format", Kind::Text),
    ("AUTHD_LOG", "log.level", Kind::Text),
    ("AUTHD_SIGN_UP", "accounts.sign_up", Kind::Text),
    ("AUTHD_COOKIE_DOMAIN", "web.cookie_domain", Kind::Text),
    ("AUTHD_WEB_TEMPLATES", "web.templates", Kind::Text),
    ("AUTHD_PASSKEYS", "passkeys.mode", Kind::Text),
    ("SMTP_URL", "mail.smtp_url", Kind::Secret),
    ("SMTP_FROM", "mail.from", Kind::Text),
    ("S3_BUCKET", "files.bucket", Kind::Text),
    ("AWS_ENDPOINT_URL_S3", "files.endpoint_url", Kind::Text),
    ("S3_ENDPOINT_URL", "files.endpoint_url", Kind::Text),
    ("COGNITO_DOMAIN", "cognito.domain", Kind::Text),
    ("COGNITO_CLIENT_ID", "cognito.client_id", Kind::Text),
    ("COGNITO_CLIENT_SECRET", "cognito.client_secret", Kind::Secret),
    ("COGNITO_REDIRECT_URI", "cognito.redirect_uri", Kind::Text),
    ("COGNITO_USER_POOL_ID", "cognito.user_pool_id", Kind::Text),
    ("COGNITO_REGION", "cognito.region", Kind::Text),
    ("COGNITO_ISSUER", "cognito.issuer", Kind::Text),
    ("GOOGLE_OAUTH_CLIENT_ID", "google.client_id", Kind::Text),
    ("GOOGLE_OAUTH_CLIENT_SECRET", "google.client_secret", Kind::Secret),
    ("STS_ROLE_ARN", "aws.role_arn", Kind::Text),
    ("STS_EXTERNAL_ID", "aws.external_id", Kind::Secret),
];

/// Keys outside of [`VARIABLES`] whose values are secrets.
const SECRET_KEYS: [&str; 2] = ["client_secret", "external_id"];

/// The process' environment, as a value. An empty variable is one that is not set.
pub type Environment = BTreeMap<String, String>;

/// What stands in a variable in place of bytes that are not UTF-8.
const NOT_UTF8: char = char::REPLACEMENT_CHARACTER;

/// The environment of this process.
pub fn environment() -> Environment {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// The sources of a configuration.
#[derive(Clone, Default)]
#[expect(missing_debug_implementations, reason = "the environment holds secrets")]
pub struct Sources {
    /// `--config`; the file must exist.
    pub file: Option<PathBuf>,
    /// The file that is read if it exists and none is named.
    pub default_file: Option<PathBuf>,
    pub environment: Environment,
    /// Flags: (key, value), which override everything else. An empty one is not set.
    pub flags: Vec<(&'static str, String)>,
}

impl Sources {
    /// Reads the sources, and refuses what cannot work.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let (config, faults) = self.read();
        if faults.refused.is_empty() { Ok(config) } else { Err(ConfigError(faults.refused)) }
    }

    /// Reads the sources, merges them, and collects every fault. A setting with a fault has its default.
    pub fn read(&self) -> (Config, Faults) {
        let mut faults = Faults::default();
        let file = SettingsFile::read(self, &mut faults);
        let mut table = file.table.clone();
        // What set a key other than the file.
        let mut origins = BTreeMap::new();
        for &(variable, key, kind) in VARIABLES {
            let value = self.variable(variable, kind, &mut faults);
            if let Some(value) = value.and_then(|text| parse(variable, &text, kind, &mut faults)) {
                set(&mut table, key, value, &mut faults);
                origins.insert(key, variable);
            }
        }
        if let (None, Some(port)) = (self.value("SERVER_ADDR"), self.value("SERVER_PORT")) {
            match port.parse::<u16>() {
                Ok(port) => set(&mut table, "server.addr", Value::String(format!("127.0.0.1:{port}")), &mut faults),
                Err(_) => faults.refuse(format!("SERVER_PORT: {port:?} is not a port: a number from 0 to 65535")),
            }
        }
        for (key, value) in self.flags.iter().filter(|(_, value)| !value.trim().is_empty()) {
            set(&mut table, key, Value::String(value.clone()), &mut faults);
            origins.insert(key, "a flag");
        }
        let config = typed(&mut table, &file, &origins, &mut faults);
        let config = config.finish(&mut faults);
        // Without a role nobody asks there.
        let mut unused = Faults::default();
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"] {
            let uri = self.value(name).and_then(|url| {
                let faults = if config.roles.is_empty() { &mut unused } else { &mut faults };
                faults.url(name, url)
            });
            if uri.is_some_and(|uri| !shared::url::is_private(&uri)) {
                faults.warn(format!(
                    "{name}: AWS keys pass through an unencrypted connection to another machine; use https"
                ));
            }
        }
        (config, faults)
    }

    /// A variable that is set and not empty; white space around it is no part of it, as with [`Secret::read`].
    fn value(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The variable itself; for a secret else its file, else the systemd credential of its name.
    fn variable(&self, name: &str, kind: Kind, faults: &mut Faults) -> Option<String> {
        let value = self.value(name);
        if value.is_some_and(|value| value.contains(NOT_UTF8)) {
            faults.refuse(format!("{name} is not UTF-8 text"));
            return None;
        }
        let of_file = format!("{name}_FILE");
        let file = self.value(&of_file).filter(|_| kind == Kind::Secret);
        if value.is_some() && file.is_some() {
            faults.refuse(format!("{name} and {of_file} are both set; keep one"));
            return None;
        }
        if kind != Kind::Secret || value.is_some() {
            return value.map(str::to_owned);
        }
        let credential = || {
            let path =
                Path::new(self.value("CREDENTIALS_DIRECTORY")?).join(name.to_ascii_lowercase().replace('_', "-"));
            path.exists().then_some((path, format!("the credential of {name}")))
        };
        let (path, shown) = file.map(|path| (PathBuf::from(path), of_file)).or_else(credential)?;
        let text = read_bounded(&path).map_err(|fault| faults.refuse(format!("{shown}: {fault}"))).ok()?;
        let secret = Secret::read(&text);
        if secret.is_none() {
            faults.warn(format!("{shown}: {} is empty, so {name} is not set", path.display()));
        }
        secret.map(|secret| secret.expose().to_owned())
    }
}

/// The configuration file.
#[derive(Default)]
struct SettingsFile {
    path: PathBuf,
    text: String,
    table: Table,
}

impl SettingsFile {
    fn read(sources: &Sources, faults: &mut Faults) -> Self {
        let path = match (&sources.file, &sources.default_file) {
            (Some(path), _) => path,
            (None, Some(path)) if path.exists() => path,
            _ => return Self::default(),
        };
        let Ok(text) = read_bounded(path).map_err(|fault| faults.refuse(format!("{}: {fault}", path.display()))) else {
            return Self::default();
        };
        let mut file = Self { path: path.clone(), text, table: Table::new() };
        match file.text.parse() {
            Ok(table) => file.table = table,
            // Never the text of the line: it may contain a secret.
            Err(error) => {
                let error: toml::de::Error = error;
                let place = file.place(error.span().map_or(0, |span| span.start));
                faults.refuse(format!("{place}: {}", error.message().trim()));
            }
        }
        file
    }

    fn place(&self, offset: usize) -> String {
        let line = self.text[..offset.min(self.text.len())].matches('\n').count() + 1;
        format!("{}, line {line}", self.path.display())
    }

    /// File and line of a key, if the file has it.
    fn find(&self, path: &[Segment]) -> Option<String> {
        let table = DeTable::parse(&self.text).ok()?;
        let (mut here, mut offset) = (DeValue::Table(table.into_inner()), 0);
        for segment in path {
            let (next, span) = match (segment, here) {
                (Segment::Map { key }, DeValue::Table(table)) => {
                    let (name, value) = table.into_iter().find(|(name, _)| name.get_ref() == key)?;
                    (value.into_inner(), name.span())
                }
                (Segment::Seq { index }, DeValue::Array(array)) => {
                    let value = array.into_iter().nth(*index)?;
                    let span = value.span();
                    (value.into_inner(), span)
                }
                _ => return None,
            };
            (here, offset) = (next, span.start);
        }
        Some(self.place(offset))
    }
}

/// The typed settings. serde stops at the first fault, so each faulty key is removed and the rest is read again.
fn typed(table: &mut Table, file: &SettingsFile, origins: &BTreeMap<&str, &str>, faults: &mut Faults) -> Config {
    // The entries that were removed from arrays.
    let mut gone = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
            Ok(config) => return config,
            Err(error) => error,
        };
        let path: Vec<Segment> = error.path().iter().cloned().collect();
        let key = error.path().to_string();
        let message = hint(error.inner().message());
        let removed = remove(table, &path);
        let is_shown = path.len() > 1 && !is_secret(&key) && !message.starts_with("unknown key");
        let value = removed.as_ref().filter(|value| is_shown && value.is_str());
        let origin = origins.get(key.split('[').next().unwrap_or_default());
        let name = origin.map_or_else(|| key.clone(), |origin| format!("{key} ({origin})"));
        let fault = match value {
            Some(value) => format!("{name} = {value}: {message}"),
            None if origin.is_some() => format!("{name}: {message}"),
            None => message,
        };
        let place = file.find(&in_file(&path, &gone)).filter(|_| origin.is_none());
        faults.refuse(place.map_or_else(|| fault.clone(), |place| format!("{place}: {fault}")));
        if removed.is_none() {
            return Config::default();
        }
        if let [around @ .., Segment::Seq { index }] = &*in_file(&path, &gone) {
            gone.push((format!("{around:?}"), *index));
            gone.sort();
        }
    }
}

/// The path of an entry in the file, from its path after entries of arrays were removed: these by the array's path and
/// their number in the file, in order.
fn in_file(path: &[Segment], gone: &[(String, usize)]) -> Vec<Segment> {
    let mut found: Vec<Segment> = Vec::new();
    for segment in path {
        let mut segment = segment.clone();
        if let Segment::Seq { index } = &mut segment {
            let array = format!("{found:?}");
            for (_, removed) in gone.iter().filter(|(around, _)| *around == array) {
                *index += usize::from(removed <= index);
            }
        }
        found.push(segment);
    }
    found
}

fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or_default();
    SECRET_KEYS.contains(&last) || VARIABLES.iter().any(|(_, name, kind)| *name == key && *kind == Kind::Secret)
}

/// Removes a key or an entry, or the nearest thing around it that there is.
fn remove(table: &mut Table, path: &[Segment]) -> Option<Value> {
    let [Segment::Map { key }, rest @ ..] = path else { return None };
    let inner = match (table.get_mut(key), rest) {
        (Some(Value::Table(inner)), [_, ..]) => remove(inner, rest),
        (Some(Value::Array(entries)), [Segment::Seq { index }, below @ ..]) if *index < entries.len() => {
            let inner = entries[*index].as_table_mut().and_then(|entry| remove(entry, below));
            inner.or_else(|| Some(entries.remove(*index)))
        }
        _ => None,
    };
    inner.or_else(|| table.remove(key))
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // A pipe has no length, so the limit is that of reading.
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("{} has more than {MAX_FILE} bytes", path.display()));
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))
}

fn parse(variable: &str, text: &str, kind: Kind, faults: &mut Faults) -> Option<Value> {
    let number = |_| faults.refuse(format!("{variable}: {text:?} is not a number"));
    match kind {
        Kind::Text | Kind::Secret => Some(Value::String(text.to_owned())),
        Kind::Int => text.parse().map(Value::Integer).map_err(number).ok(),
        Kind::Bool => match text {
            "true" => Some(Value::Boolean(true)),
            "false" => Some(Value::Boolean(false)),
            _ => {
                faults.refuse(format!("{variable}: {text:?}: use true or false"));
                None
            }
        },
        Kind::List => {
            let items = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
    }
}

/// Sets `a.b` in the table, and creates `a` if it is missing.
fn set(table: &mut Table, key: &str, value: Value, faults: &mut Faults) {
    let (table, key) = match key.split_once('.') {
        None => (table, key),
        Some((section, key)) => {
            let section_value = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            match section_value.as_table_mut() {
                Some(section) => (section, key),
                None => return faults.refuse(format!("{section} must be a table: [{section}]")),
            }
        }
    };
    table.insert(key.to_owned(), value);
}

/// serde's message, with the nearest known key if it is about an unknown one.
fn hint(message: &str) -> String {
    let message = message.trim();
    // What is of another type may be a secret in the wrong place.
    if let Some((_, expected)) =
        message.strip_prefix("invalid type: string \"").and_then(|rest| rest.rsplit_once("\", "))
    {
        return format!("invalid type: string, {expected}");
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    match nearest(unknown, quoted) {
        Some(nearest) => format!("unknown key `{unknown}`; did you mean `{nearest}`?"),
        None => message.replacen("unknown field", "unknown key", 1),
    }
}
