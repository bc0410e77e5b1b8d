//! The sources of settings, and their precedence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError, refuse};

/// The largest configuration or secret file that is read.
const MAX_FILE: u64 = 1 << 20;

/// How a variable's text becomes a TOML value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A secret; also read from `<VARIABLE>_FILE` and from a systemd credential.
    Secret,
    Int,
    Bool,
    /// Separated by commas.
    List,
}

/// Every environment variable, with the key of the file that it sets.
const VARIABLES: &[(&str, &str, Kind)] = &[
    ("SERVER_ADDR", "server.addr", Kind::Text),
    ("AUTHD_PUBLIC_URL", "server.public_url", Kind::Text),
    ("AUTHD_TRUSTED_PROXIES", "server.trusted_proxies", Kind::List),
    ("AUTHD_MAX_CONNECTIONS", "server.max_connections", Kind::Int),
    ("AUTHD_ADMIN_SOCKET", "admin.socket", Kind::Text),
    ("ADMIN_TOKEN", "admin.token", Kind::Secret),
    ("AUTHD_DATA_DIR", "data_dir", Kind::Text),
    ("DATABASE_URL", "database.url", Kind::Secret),
    ("REDIS_URL", "redis.url", Kind::Secret),
    ("AUTHD_ROOT_KEY", "keys.root", Kind::Secret),
    ("TOKEN_PREFIX", "tokens.prefix", Kind::Text),
    ("TOKEN_TTL_SECONDS", "sessions.ttl_seconds", Kind::Int),
    ("TOKEN_RENEW_THRESHOLD_SECONDS", "sessions.renew_threshold_seconds", Kind::Int),
    ("AUTHD_ALLOW_UNBOUND_POLLING", "cli.allow_unbound_polling", Kind::Bool),
    ("AUTHD_LOG_FORMAT", "log.format", Kind::Text),
    ("AUTHD_LOG", "log.level", Kind::Text),
    ("COGNITO_DOMAIN", "cognito.domain", Kind::Text),
    ("COGNITO_CLIENT_ID", "cognito.client_id", Kind::Text),
    ("COGNITO_CLIENT_SECRET", "cognito.client_secret", Kind::Secret),
    ("COGNITO_REDIRECT_URI", "cognito.redirect_uri", Kind::Text),
    ("COGNITO_USER_POOL_ID", "cognito.user_pool_id", Kind::Text),
    ("COGNITO_REGION", "cognito.region", Kind::Text),
    ("COGNITO_ISSUER", "cognito.issuer", Kind::Text),
    ("STS_ROLE_ARN", "aws.role_arn", Kind::Text),
    ("STS_EXTERNAL_ID", "aws.external_id", Kind::Secret),
];

/// The process' environment, as a value.
pub type Environment = BTreeMap<String, String>;

/// The sources of a configuration.
#[derive(Clone, Default)]
#[expect(missing_debug_implementations, reason = "the environment holds secrets")]
pub struct Sources {
    /// `--config`; the file must exist.
    pub file: Option<PathBuf>,
    /// The file that is read if it exists and none is named.
    pub default_file: Option<PathBuf>,
    pub environment: Environment,
    /// Flags: (key, value), which override everything else.
    pub flags: Vec<(&'static str, String)>,
}

impl Sources {
    /// Reads the sources, merges and checks them.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let mut table = self.read_file()?;
        for &(variable, key, kind) in VARIABLES {
            if let Some(text) = self.variable(variable, kind)? {
                set(&mut table, key, parse(variable, &text, kind)?)?;
            }
        }
        if !self.environment.contains_key("SERVER_ADDR")
            && let Some(port) = self.environment.get("SERVER_PORT")
        {
            let port: u16 = port.parse().map_err(|_| ConfigError(format!("SERVER_PORT: {port:?} is not a port")))?;
            set(&mut table, "server.addr", Value::String(format!("127.0.0.1:{port}")))?;
        }
        for (key, value) in &self.flags {
            set(&mut table, key, Value::String(value.clone()))?;
        }
        let config: Config =
            Value::Table(table).try_into().map_err(|error: toml::de::Error| ConfigError(hint(error.message())))?;
        config.finish()
    }

    fn read_file(&self) -> Result<Table, ConfigError> {
        let path = match (&self.file, &self.default_file) {
            (Some(path), _) => path,
            (None, Some(path)) if path.exists() => path,
            _ => return Ok(Table::new()),
        };
        let text = read_bounded(path)?;
        // Never the text of the line: it may contain a secret.
        let refused = |error: toml::de::Error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            ConfigError(format!("{}, line {line}: {}", path.display(), hint(error.message())))
        };
        let table: Table = text.parse().map_err(refused)?;
        // The file is parsed separately into the typed form, so that an error can name the line.
        toml::from_str::<Config>(&text).map_err(refused)?;
        Ok(table)
    }

    /// The variable itself, else its file, else the systemd credential of its name.
    fn variable(&self, name: &str, kind: Kind) -> Result<Option<String>, ConfigError> {
        let value = self.environment.get(name).filter(|value| !value.is_empty());
        if kind != Kind::Secret {
            return Ok(value.cloned());
        }
        let file = self.environment.get(&format!("{name}_FILE")).filter(|path| !path.is_empty());
        if value.is_some() && file.is_some() {
            return refuse(format!("{name} and {name}_FILE are both set; keep one"));
        }
        if value.is_some() {
            return Ok(value.cloned());
        }
        let credential = || {
            let directory = self.environment.get("CREDENTIALS_DIRECTORY")?;
            let path = Path::new(directory).join(name.to_ascii_lowercase().replace('_', "-"));
            path.exists().then_some(path)
        };
        let text = file.map(PathBuf::from).or_else(credential).map(|path| read_bounded(&path)).transpose()?;
        Ok(text.map(|text| text.trim_end().to_owned()))
    }
}

fn read_bounded(path: &Path) -> Result<String, ConfigError> {
    let fail = |error: std::io::Error| ConfigError(format!("{}: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(fail)?.len();
    if length > MAX_FILE {
        return refuse(format!("{} has {length} bytes; at most {MAX_FILE} are read", path.display()));
    }
    std::fs::read_to_string(path).map_err(fail)
}

fn parse(variable: &str, text: &str, kind: Kind) -> Result<Value, ConfigError> {
    match kind {
        Kind::Text | Kind::Secret => Ok(Value::String(text.to_owned())),
        Kind::Int => {
            text.parse().map(Value::Integer).or_else(|_| refuse(format!("{variable}: {text:?} is not a number")))
        }
        Kind::Bool => text.parse().map(Value::Boolean).or_else(|_| refuse(format!("{variable}: use true or false"))),
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
    }
}

/// Sets `a.b` in the table, and creates `a` if it is missing.
fn set(table: &mut Table, key: &str, value: Value) -> Result<(), ConfigError> {
    let (table, key) = match key.split_once('.') {
        None => (table, key),
        Some((section, key)) => {
            let section_value = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            match section_value.as_table_mut() {
                Some(section) => (section, key),
                None => return refuse(format!("{section} must be a table: [{section}]")),
            }
        }
    };
    table.insert(key.to_owned(), value);
    Ok(())
}

/// Adds the nearest known key to serde's message about an unknown one.
fn hint(message: &str) -> String {
    let message = message.trim();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    match quoted.min_by_key(|known| distance(unknown, known)) {
        Some(nearest) => format!("unknown key `{unknown}`; did you mean `{nearest}`?"),
        None => message.replacen("unknown field", "unknown key", 1),
    }
}

/// The Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let cost = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[row.len() - 1]
}
