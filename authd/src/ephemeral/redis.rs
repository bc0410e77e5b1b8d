//! The ephemeral store in Redis, shared by replicas. All calls to the crate are in this file.
//!
//! authd starts whether Redis answers or not, and reconnects by itself; meanwhile every call fails within about a
//! second, or two for an increment. Calls are not retried here: a `take` without an answer may have been executed, and
//! the caller decides what that means (a login starts again). An increment without an answer is void: a Redis that
//! stalled would otherwise count what was answered 503.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError};
use shared::url::is_loopback;
use tokio::sync::OnceCell;

use super::{Ephemeral, EphemeralError, MAX_LIFE};
use crate::db::BoxFuture;
use crate::env::Millis;

/// The prefix of all keys: the Redis may be shared, and an ACL can be restricted to `~authd:*`.
const PREFIX: &str = "authd:";

/// Time limits of an answer and of a connection.
const RESPONSE_MILLIS: Millis = 500;
const RESPONSE: Duration = Duration::from_millis(RESPONSE_MILLIS.unsigned_abs());
const CONNECT: Duration = Duration::from_secs(1);
/// Time limit of a call in all.
const DEADLINE: Duration = Duration::from_millis(1500);

/// The server's time in milliseconds.
const NOW: &str = "local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000)";
/// After ARGV[2], in the server's time, nothing is counted: the caller got no answer. The first increment sets the time
/// to live atomically: a counter without one would never expire. A counter that has none gets one.
const INCREMENT: &str = "local t = redis.call('TIME') \
    if t[1] * 1000 + math.floor(t[2] / 1000) > tonumber(ARGV[2]) then return -1 end \
    local sum = redis.call('INCR', KEYS[1]) \
    if sum == 1 or redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end return sum";
const TAKE_BACK: &str = "if tonumber(redis.call('GET', KEYS[1]) or 0) > 0 then redis.call('DECR', KEYS[1]) end";

/// [`Ephemeral`] in a Redis server (7, or any that has `GETDEL`) or cluster.
pub enum RedisEphemeral {
    /// Connects on first use and again after each loss.
    One(ConnectionManager),
    /// Finds its nodes when it is built, so it is built on first use. It follows moved slots itself.
    Cluster(Box<ClusterClient>, OnceCell<ClusterConnection>),
}

impl fmt::Debug for RedisEphemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisEphemeral")
    }
}

/// What `REDIS_URL` names.
#[derive(Debug)]
pub struct Servers {
    nodes: Vec<ConnectionInfo>,
    is_cluster: bool,
}

impl Servers {
    /// `redis://`, `rediss://` (TLS), `unix://`, or several URLs separated by commas for a cluster (one that begins with
    /// `cluster+`, as in `cluster+rediss://host:port`, is a cluster too). The error does not quote the URL, which may
    /// contain a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let urls = split(text);
        let is_cluster = urls.len() > 1 || urls.iter().any(|(cluster, _)| *cluster);
        if urls.is_empty() {
            return Err("it names no server".into());
        }
        let nodes = urls.iter().map(|(_, url)| node(url)).collect::<Result<Vec<_>, _>>()?;
        let is_socket = |node: &ConnectionInfo| matches!(node.addr(), ConnectionAddr::Unix(_));
        if is_cluster && nodes.iter().any(is_socket) {
            return Err("a cluster is reached by redis:// or rediss://, not by a socket".into());
        }
        let servers = Self { nodes, is_cluster };
        // The crate compares the servers of a cluster when it builds it.
        servers.cluster().transpose().map_err(|error| told(&error))?;
        Ok(servers)
    }

    fn cluster(&self) -> Option<Result<ClusterClient, RedisError>> {
        let client =
            || ClusterClient::builder(self.nodes.clone()).response_timeout(RESPONSE).connection_timeout(CONNECT);
        self.is_cluster.then(|| client().retries(2).build())
    }

    /// Whether what is sent is encrypted, or stays on this machine.
    pub fn is_private(&self) -> bool {
        self.nodes.iter().all(|node| match node.addr() {
            ConnectionAddr::Tcp(host, _) => is_loopback(host),
            _ => true,
        })
    }
}

/// The URLs of a list, each with whether it begins with `cluster+`. A comma separates only where a scheme follows: it may
/// also be part of a password (RFC 3986 §3.2.1).
fn split(text: &str) -> Vec<(bool, &str)> {
    let mut urls: Vec<&str> = Vec::new();
    let mut start = 0;
    for (comma, _) in text.match_indices(',') {
        let next = text[comma + 1..].trim_start();
        let scheme = next.split_once("://").map_or("", |(scheme, _)| scheme);
        let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if next.is_empty() || (is_scheme && scheme.starts_with(|first: char| first.is_ascii_alphabetic())) {
            urls.push(&text[start..comma]);
            start = comma + 1;
        }
    }
    urls.push(&text[start..]);
    let urls = urls.into_iter().map(str::trim).filter(|url| !url.is_empty());
    urls.map(|url| match url.split_at_checked("cluster+".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("cluster+") => (true, rest),
        _ => (false, url),
    })
    .collect()
}

fn node(url: &str) -> Result<ConnectionInfo, String> {
    if redis::parse_redis_url(url).is_none() {
        return Err("it must have the form redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH, with the special \
                    characters of a password percent-encoded (a / is %2F, an @ is %40, a # is %23)"
            .into());
    }
    let info = url.into_connection_info().map_err(|error| told(&error))?;
    match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            Err("#insecure would accept any server; remove it, and install the server's authority on this machine"
                .into())
        }
        ConnectionAddr::Tcp(_, 0) | ConnectionAddr::TcpTls { port: 0, .. } => Err("0 is not a port".into()),
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }
            if host.contains(|c: char| !is_of_host(c)) =>
        {
            Err("its host is not a name or an address (each server of a cluster needs its own redis://)".into())
        }
        _ => Ok(info),
    }
}

fn is_of_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || ['-', '.', '_', ':'].contains(&c)
}

impl RedisEphemeral {
    /// Does not connect, but must be called inside the runtime. `url` is that of [`Servers::parse`].
    pub fn open(url: &str) -> Result<Self, EphemeralError> {
        let servers = Servers::parse(url).map_err(|fault| EphemeralError(format!("REDIS_URL: {fault}").into()))?;
        // The crate uses the process' provider; an earlier call has installed the same one.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        if let Some(client) = servers.cluster() {
            return Ok(Self::Cluster(Box::new(client.map_err(|error| wrong(&error))?), OnceCell::new()));
        }
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(RESPONSE))
            .set_connection_timeout(Some(CONNECT))
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500));
        let one = servers.nodes.into_iter().next().ok_or_else(|| EphemeralError("REDIS_URL names no server".into()))?;
        let client = Client::open(one).map_err(|error| wrong(&error))?;
        let manager = ConnectionManager::new_lazy_with_config(client, config).map_err(|error| wrong(&error))?;
        Ok(Self::One(manager))
    }

    async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, EphemeralError> {
        let answer = async {
            match self {
                Self::One(manager) => command.query_async(&mut manager.clone()).await,
                Self::Cluster(client, connection) => {
                    let connection = connection.get_or_try_init(|| client.get_async_connection()).await?;
                    command.query_async(&mut connection.clone()).await
                }
            }
        };
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answer) => answer.map_err(|error| EphemeralError(told(&error).into())),
            Err(_) => Err(EphemeralError("Redis took too long".into())),
        }
    }
}

/// A command on a key of ours; more arguments may follow.
fn command(name: &str, key: &str) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(format!("{PREFIX}{key}"));
    command
}

/// A script on a key of ours; arguments may follow.
fn script(text: &str, key: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(1).arg(format!("{PREFIX}{key}"));
    command
}

/// `SET`, with a time to live. Redis accepts none of zero or less, so an expired value lives for a millisecond.
fn set(key: &str, value: &[u8], ttl: Millis) -> Cmd {
    let mut command = command("SET", key);
    command.arg(value).arg("PX").arg(ttl.clamp(1, MAX_LIFE));
    command
}

/// The URL stays out of the message: it may hold a password.
fn wrong(error: &RedisError) -> EphemeralError {
    EphemeralError(format!("REDIS_URL: {}", told(error)).into())
}

/// The error for the log. A server's message may quote arguments, so only its code is included.
fn told(error: &RedisError) -> String {
    match (error.kind(), error.code()) {
        (ErrorKind::Server(_) | ErrorKind::Extension, Some(code)) => format!("Redis refused: {code}"),
        _ => error.to_string(),
    }
}

impl Ephemeral for RedisEphemeral {
    fn put<'a>(&'a self, key: &'a str, value: &'a [u8], ttl: Millis) -> BoxFuture<'a, Result<(), EphemeralError>> {
        Box::pin(self.ask(set(key, value, ttl)))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, EphemeralError>> {
        Box::pin(self.ask(command("GET", key)))
    }

    fn take<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, EphemeralError>> {
        Box::pin(self.ask(command("GETDEL", key)))
    }

    fn increment<'a>(&'a self, key: &'a str, ttl: Millis) -> BoxFuture<'a, Result<i64, EphemeralError>> {
        Box::pin(async move {
            // By the server's own clock, which may differ from ours.
            let now: Millis = self.ask(script(NOW, key)).await?;
            let mut increment = script(INCREMENT, key);
            increment.arg(ttl.clamp(1, MAX_LIFE)).arg(now + RESPONSE_MILLIS);
            match self.ask(increment).await? {
                -1 => Err(EphemeralError("Redis took too long".into())),
                sum => Ok(sum),
            }
        })
    }

    fn take_back<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), EphemeralError>> {
        Box::pin(self.ask(script(TAKE_BACK, key)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), EphemeralError>> {
        // Not only PING: a Redis that answers but cannot write (a replica, a full one) is useless here.
        Box::pin(self.ask(set("check", b"1", 1000)))
    }

    fn engine(&self) -> &'static str {
        "redis"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_increment_that_reaches_the_server_too_late_counts_nothing() {
        let Ok(url) = std::env::var("AUTHD_TEST_REDIS_URL") else { return };
        let redis = RedisEphemeral::open(&url).unwrap();
        let key = format!("late:{}", crate::env::Env::real().uuid());
        let now: Millis = redis.ask(script(NOW, &key)).await.unwrap();
        for (deadline, sum) in [(now - 1, -1), (now + 60_000, 1), (now - 1, -1), (now + 60_000, 2)] {
            let mut increment = script(INCREMENT, &key);
            increment.arg(60_000).arg(deadline);
            assert_eq!(redis.ask::<i64>(increment).await.unwrap(), sum);
        }
    }

    #[test]
    fn a_comma_separates_servers_only_before_a_scheme() {
        for (text, count, is_cluster) in [
            ("redis://:a,b@127.0.0.1:1", 1, false),
            ("REDIS://127.0.0.1", 1, false),
            ("unix:///run/redis.sock", 1, false),
            ("redis://:a,b@h1:1, redis://:a,b@h2:2,", 2, true),
            ("cluster+redis://h1", 1, true),
            ("Cluster+RedisS://h1,rediss://h2", 2, true),
        ] {
            let servers = Servers::parse(text).unwrap();
            assert_eq!((servers.nodes.len(), servers.is_cluster), (count, is_cluster), "{text}");
        }
        let password = Servers::parse("redis://:a,b@127.0.0.1:1").unwrap();
        assert_eq!(password.nodes[0].redis_settings().password(), Some("a,b"));
    }

    #[test]
    fn what_is_no_server_is_refused_without_the_password() {
        for text in [
            "localhost:6379",
            "127.0.0.1",
            "http://h",
            "redis://",
            "redis://h:port",
            "redis://h:0",
            "redis://h:99999",
            "redis://0.0.0.0",
            "redis://h/first",
            "redis://:hunter2/x@h",
            "redis://:hunter2#x@h",
            "rediss://:hunter2@h#insecure",
            "redis://h1,h2:2",
            ",",
            "redis://:hunter2@h1,redis://:other@h2",
            "unix:///a,unix:///b",
            "redis://h?protocol=9",
        ] {
            let error = Servers::parse(text).unwrap_err();
            assert!(!error.is_empty() && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn only_tls_and_this_machine_are_private() {
        for (text, is_private) in [
            ("redis://LOCALHOST", true),
            ("redis://[::1]:1", true),
            ("rediss://h", true),
            ("unix:///run/redis.sock", true),
            ("redis://h", false),
            ("redis://127.0.0.1,redis://h", false),
        ] {
            assert_eq!(Servers::parse(text).unwrap().is_private(), is_private, "{text}");
        }
    }
}
