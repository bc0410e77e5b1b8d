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
use redis::{Client, Cmd, ErrorKind, FromRedisValue, RedisError};
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

impl RedisEphemeral {
    /// From `REDIS_URL`: `redis://`, `rediss://` (TLS), `unix://`, or several URLs separated by commas for a cluster
    /// (one that begins with `cluster+`, as in `cluster+rediss://host:port`, is a cluster too). Does not connect, but must
    /// be called inside the runtime.
    pub fn open(url: &str) -> Result<Self, EphemeralError> {
        if url.contains("rediss:") {
            // The crate uses the process' provider; an earlier call has installed the same one.
            rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        }
        let urls: Vec<&str> = url.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
        Ok(match urls.as_slice() {
            [one] if !one.starts_with("cluster+") => {
                let config = ConnectionManagerConfig::new()
                    .set_response_timeout(Some(RESPONSE))
                    .set_connection_timeout(Some(CONNECT))
                    .set_number_of_retries(1)
                    .set_min_delay(Duration::from_millis(50))
                    .set_max_delay(Duration::from_millis(500));
                let client = Client::open(*one).map_err(|error| wrong(&error))?;
                Self::One(ConnectionManager::new_lazy_with_config(client, config).map_err(|error| wrong(&error))?)
            }
            nodes => {
                let nodes = nodes.iter().map(|url| url.strip_prefix("cluster+").unwrap_or(url));
                let client = ClusterClient::builder(nodes).response_timeout(RESPONSE).connection_timeout(CONNECT);
                Self::Cluster(Box::new(client.retries(2).build().map_err(|error| wrong(&error))?), OnceCell::new())
            }
        })
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
}
