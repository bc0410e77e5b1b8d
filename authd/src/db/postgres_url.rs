//! `postgres://` URLs: libpq's connection URIs (PostgreSQL's manual, "Connection URIs" and "Parameter Key Words").
//!
//! Each parameter of libpq is followed, or has no meaning here and is dropped, or is refused with the reason: a
//! parameter that is silently ignored may be the one that keeps the connection safe. The driver's own parser is not used,
//! because it knows a part of the parameters, and finds an `@` of a parameter in place of the one after the password.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use shared::url::is_loopback;
use shared::wire::percent_decode;
use tokio_postgres::config::{ChannelBinding, Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};

use super::postgres_tls::{Tls, Verify};

const DEFAULT_PORT: u16 = 5432;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection's settings.
#[derive(Clone, Debug)]
pub struct PostgresUrl {
    pub config: tokio_postgres::Config,
    pub tls: Tls,
}

/// Whether it is a URL of PostgreSQL: the text after the scheme, which may be in any case (RFC 3986 §3.1).
pub fn strip_scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    ["postgres", "postgresql"].iter().any(|name| scheme.eq_ignore_ascii_case(name)).then_some(rest)
}

impl PostgresUrl {
    /// Reads a URL; an error for each fault, without the password.
    pub fn parse(url: &str) -> Result<Self, Vec<String>> {
        let params = split(url).map_err(|fault| vec![fault])?;
        let mut config = tokio_postgres::Config::new();
        config.application_name("authd").connect_timeout(CONNECT_TIMEOUT);
        let mut faults = Vec::new();
        for (key, value) in &params {
            if !value.is_empty()
                && let Err(fault) = set(&mut config, key, value)
            {
                faults.push(fault);
            }
        }
        faults.extend(hosts(&mut config, &params).err());
        let tls = tls(&mut config, &params).map_err(|fault| faults.push(fault));
        match tls {
            Ok(tls) if faults.is_empty() => Ok(Self { config, tls }),
            _ => Err(faults),
        }
    }

    /// What is not safe across a network.
    pub fn warning(&self) -> Option<String> {
        let is_far = |host: &Host| matches!(host, Host::Tcp(name) if !is_loopback(name));
        if !self.config.get_hosts().iter().any(is_far) {
            return None;
        }
        let effect = match (self.config.get_ssl_mode(), self.tls.verify) {
            (SslMode::Require, Verify::Nothing) => "encrypts, but does not verify the server",
            (SslMode::Require, _) => return None,
            (SslMode::Disable, _) => "sends everything unencrypted",
            _ => "encrypts only if the server offers it",
        };
        Some(format!("the connection to another machine {effect}; across a network use sslmode=verify-full"))
    }
}

/// The parameters, those of the query last: they override the others (libpq).
fn split(url: &str) -> Result<BTreeMap<String, String>, String> {
    let rest = strip_scheme(url).ok_or("it must begin with sqlite: or postgres://")?;
    if rest.contains('#') {
        return Err("write a # in a user name, password or parameter as %23".into());
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    if database.contains('@') {
        return Err("write a / in a user name or password as %2F, and an @ in the database's name as %40".into());
    }
    let (user_info, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user_info.contains('@') {
        return Err("write an @ in a user name or password as %40".into());
    }
    let decode = |text: &str| {
        percent_decode(text, false)
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| "a % is not followed by two hex digits of UTF-8 text: write % as %25".to_owned())
    };
    let mut params = BTreeMap::new();
    let mut set = |key: &str, value: &str| decode(value).map(|value| params.insert(key.to_owned(), value));
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    set("user", user)?;
    set("password", password)?;
    set("dbname", database)?;
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for chunk in hosts.split(',') {
        let (name, port) = if let Some(bracketed) = chunk.strip_prefix('[') {
            let (address, port) = bracketed.split_once(']').ok_or("a [ of an IPv6 address has no ]")?;
            if !port.is_empty() && !port.starts_with(':') {
                return Err("only a port may follow the ] of an IPv6 address".into());
            }
            (address, port.trim_start_matches(':'))
        } else {
            chunk.split_once(':').unwrap_or((chunk, ""))
        };
        names.push(name);
        ports.push(port);
    }
    set("host", &names.join(","))?;
    set("port", &ports.join(","))?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            format!("the parameter {} has no value (write a ? in a user name or password as %3F)", shown_key(pair))
        })?;
        // As in libpq, for URLs that were written for JDBC.
        let (key, value) = if (key, value) == ("ssl", "true") { ("sslmode", "require") } else { (key, value) };
        params.insert(decode(key)?, decode(value)?);
    }
    Ok(params)
}

/// A value in a message: only a word, since what was not encoded of a password may stand there.
fn shown(value: &str) -> &str {
    let is_word = value.len() <= 24 && value.bytes().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(&byte));
    if is_word { value } else { "…" }
}

/// A name in a message: only one that begins like one of libpq's.
fn shown_key(key: &str) -> &str {
    const STARTS: [&str; 17] = [
        "app", "cha", "cli", "con", "dbn", "fal", "gss", "hos", "kee", "krb", "loa", "opt", "por", "rep", "ssl", "tar",
        "tcp",
    ];
    if STARTS.iter().any(|start| key.starts_with(start)) { shown(key) } else { "…" }
}

/// Sets one parameter, unless it is one of the hosts or of TLS.
fn set(config: &mut tokio_postgres::Config, key: &str, value: &str) -> Result<(), String> {
    let unknown = |known: &str| Err(format!("{key}={} is unknown; use {known}", shown(value)));
    let refuse = |reason: &str| Err(format!("{}: {reason}", shown_key(key)));
    let seconds = || value.parse().map_err(|_| format!("{key}={} is not a number of seconds", shown(value)));
    // Each arm is the settings again.
    let _: &mut tokio_postgres::Config = match key {
        "user" => config.user(value),
        "password" => config.password(value),
        "dbname" => config.dbname(value),
        "options" => config.options(value),
        "application_name" => config.application_name(value),
        "connect_timeout" => match seconds()? {
            0 => config,
            limit => config.connect_timeout(Duration::from_secs(limit)),
        },
        // authd's own deadline is stricter than what this is for.
        "tcp_user_timeout" => seconds().map(|_| config)?,
        "keepalives" => config.keepalives(seconds()? != 0),
        // Zero is the system's default.
        "keepalives_idle" | "keepalives_interval" | "keepalives_count" if seconds()? == 0 => config,
        "keepalives_idle" => config.keepalives_idle(Duration::from_secs(seconds()?)),
        "keepalives_interval" => config.keepalives_interval(Duration::from_secs(seconds()?)),
        "keepalives_count" => {
            let count = value.parse().map_err(|_| format!("{key}={} is not a number", shown(value)))?;
            config.keepalives_retries(count)
        }
        "target_session_attrs" => match value {
            "any" => config.target_session_attrs(TargetSessionAttrs::Any),
            // A primary is where authd can write.
            "read-write" | "primary" => config.target_session_attrs(TargetSessionAttrs::ReadWrite),
            "read-only" | "standby" | "prefer-standby" => {
                return refuse("authd writes, which a standby refuses; use read-write, primary or any");
            }
            _ => return unknown("read-write, primary or any"),
        },
        "load_balance_hosts" => match value {
            "disable" => config.load_balance_hosts(LoadBalanceHosts::Disable),
            "random" => config.load_balance_hosts(LoadBalanceHosts::Random),
            _ => return unknown("disable or random"),
        },
        "channel_binding" => match value {
            "disable" => config.channel_binding(ChannelBinding::Disable),
            "prefer" => config.channel_binding(ChannelBinding::Prefer),
            "require" => config.channel_binding(ChannelBinding::Require),
            _ => return unknown("disable, prefer or require"),
        },
        "client_encoding" => match value.replace(['-', '_'], "").to_ascii_lowercase().as_str() {
            "utf8" | "unicode" | "auto" => config,
            _ => return refuse("authd stores UTF-8; remove it, or use UTF8"),
        },
        // authd has no Kerberos: as libpq without a ticket, it goes on without.
        "gssencmode" => match value {
            "disable" | "prefer" => config,
            "require" => return refuse("authd encrypts by TLS, not by GSSAPI; remove it, and use sslmode=verify-full"),
            _ => return unknown("disable"),
        },
        // Without a meaning here, or read elsewhere.
        "gssdelegation"
        | "gsslib"
        | "krbsrvname"
        | "fallback_application_name"
        | "host"
        | "hostaddr"
        | "port"
        | "sslmode"
        | "sslrootcert" => config,
        "replication" => match value {
            "false" | "off" | "no" | "0" => config,
            _ => return refuse("authd needs an ordinary connection; remove it"),
        },
        "passfile" => {
            return refuse(
                "authd reads no password file; put the password into the URL, and the URL into DATABASE_URL_FILE",
            );
        }
        "service" | "servicefile" => {
            return refuse("authd reads no connection service file; write its settings into the URL");
        }
        "requirepeer" => {
            return refuse("authd cannot check the server's user; remove it, and restrict the socket's folder");
        }
        "require_auth" => {
            return refuse("authd cannot restrict the method; remove it, and use channel_binding=require with TLS");
        }
        key if key.starts_with("ssl") => return refuse_tls(key, value),
        _ => return refuse("libpq has no such parameter; remove it"),
    };
    Ok(())
}

/// The parameters of TLS without an effect, and those that authd cannot follow.
fn refuse_tls(key: &str, value: &str) -> Result<(), String> {
    let reason = match (key, value) {
        ("sslcompression", _)
        | ("sslsni", "1")
        | ("sslnegotiation", "postgres")
        | ("sslcertmode", "disable" | "allow")
        | ("ssl_min_protocol_version", "TLSv1" | "TLSv1.1" | "TLSv1.2")
        | ("ssl_max_protocol_version", "TLSv1.3") => return Ok(()),
        ("sslcert" | "sslkey" | "sslpassword" | "sslcertmode", _) => {
            "authd has no client certificate; use a password, and remove it"
        }
        ("sslcrl" | "sslcrldir", _) => "authd cannot check revocation lists; remove it",
        ("ssl_min_protocol_version" | "ssl_max_protocol_version", _) => {
            "authd uses TLS 1.2 or 1.3; remove it, and restrict the versions at the server"
        }
        ("sslnegotiation" | "sslsni", _) => "authd cannot do that; remove it",
        _ => "libpq has no such parameter; remove it",
    };
    Err(format!("{}: {reason}", shown(key)))
}

/// Sets hosts, addresses and ports, which are lists of the same length.
fn hosts(config: &mut tokio_postgres::Config, params: &BTreeMap<String, String>) -> Result<(), String> {
    let list = |key: &str| {
        let value = params.get(key).map_or("", String::as_str);
        if value.is_empty() { Vec::new() } else { value.split(',').collect::<Vec<_>>() }
    };
    let (mut names, addresses, mut ports) = (list("host"), list("hostaddr"), list("port"));
    if names.is_empty() {
        names.clone_from(&addresses);
    }
    if names.is_empty() || names.contains(&"") {
        return Err(
            "name the host: postgres://HOST/NAME, or ?host=/FOLDER for the folder of the server's socket".into()
        );
    }
    // One port is that of every host.
    if ports.len() <= 1 {
        ports = vec![ports.first().copied().unwrap_or_default(); names.len()];
    }
    if ports.len() != names.len() || (!addresses.is_empty() && addresses.len() != names.len()) {
        return Err("host, hostaddr and port must have the same number of entries".into());
    }
    for name in names {
        if name.starts_with('/') {
            config.host_path(name)
        } else {
            config.host(name)
        };
    }
    for address in addresses {
        config.hostaddr(
            address.parse::<IpAddr>().map_err(|_| format!("hostaddr={} is not an IP address", shown(address)))?,
        );
    }
    for port in ports {
        let number = if port.is_empty() { Ok(DEFAULT_PORT) } else { port.parse() };
        match number {
            Ok(number @ 1..) => config.port(number),
            // It may be the first part of a password, up to a slash.
            _ => {
                return Err(
                    "the port is not a number from 1 to 65535 (write a / in a user name or password as %2F)".into()
                );
            }
        };
    }
    Ok(())
}

/// `sslmode` and `sslrootcert`. `allow` encrypts where the server offers it, like `prefer`: there is no reason to try
/// without first.
fn tls(config: &mut tokio_postgres::Config, params: &BTreeMap<String, String>) -> Result<Tls, String> {
    let value = |key: &str| params.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let (mode, root) = (value("sslmode"), value("sslrootcert"));
    if root == Some("system") && !matches!(mode, None | Some("verify-full")) {
        return Err("sslrootcert=system trusts every public authority, so it needs sslmode=verify-full".into());
    }
    let mode = mode.unwrap_or(if root == Some("system") { "verify-full" } else { "prefer" });
    let (ssl_mode, mut verify) = match mode {
        "disable" => (SslMode::Disable, Verify::Nothing),
        "allow" | "prefer" => (SslMode::Prefer, Verify::Nothing),
        "require" => (SslMode::Require, Verify::Nothing),
        "verify-ca" => (SslMode::Require, Verify::Issuer),
        "verify-full" => (SslMode::Require, Verify::IssuerAndName),
        _ => {
            let shown = shown(mode);
            return Err(format!("sslmode={shown} is unknown; use disable, prefer, require, verify-ca or verify-full"));
        }
    };
    config.ssl_mode(ssl_mode);
    let root_file = root.filter(|file| *file != "system").map(str::to_owned);
    if verify == Verify::Nothing && root_file.is_some() {
        // As in libpq, a named CA is verified.
        verify = Verify::Issuer;
    }
    if verify == Verify::Issuer && root_file.is_none() {
        return Err("sslmode=verify-ca needs sslrootcert=FILE".into());
    }
    if ssl_mode == SslMode::Disable && config.get_channel_binding() == ChannelBinding::Require {
        return Err("channel_binding=require needs TLS; use sslmode=verify-full".into());
    }
    Ok(Tls { verify, root_file })
}
