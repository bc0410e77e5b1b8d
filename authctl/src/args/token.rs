//! API tokens.

use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde_json::{Map, Value};
use shared::time::Time;

use super::{Consent, Limit, days};

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Mint a token; its secret is shown this once
    Create(Create),
    /// List tokens, newest first
    List(List),
    /// Show one token
    #[command(alias = "show")]
    Info(Info),
    /// Revoke a token, for good
    Revoke(Revoke),
    /// Let a token live longer
    Extend(Extend),
    /// Give a token a new secret under the same id
    Rotate(Rotate),
    /// Ask whether a token is good (exit code 1 when it is not); the token is read from stdin
    Validate(Validate),
}

#[derive(Debug, Args)]
pub struct Create {
    /// What to call it; unique among the tokens that are not revoked
    pub name: String,
    /// What it may do; scopes that begin with `authd:` allow managing authd itself
    #[arg(long, required = true, num_args = 1.., value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// Days until it expires; without this it does not
    #[arg(long, value_name = "DAYS", value_parser = days())]
    pub ttl: Option<u32>,
    /// When it expires: 2027-01-31T12:00:00Z, or a date (its first moment in UTC)
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "ttl")]
    pub expires_at: Option<Time>,
    /// A network or address it may be used from (repeat for more); without this, anywhere
    #[arg(long = "cidr", value_name = "CIDR", value_parser = cidr)]
    pub cidrs: Vec<IpNet>,
    /// Something to keep beside it (repeat for more)
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub metadata: Vec<(String, String)>,
    /// Repeat an earlier call that got no answer: the same key gets the same token
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

impl Create {
    /// `None` without any.
    pub fn metadata(&self) -> Option<Map<String, Value>> {
        let pairs = self.metadata.iter().map(|(key, value)| (key.clone(), Value::String(value.clone())));
        (!self.metadata.is_empty()).then(|| pairs.collect())
    }
}

#[derive(Debug, Args)]
pub struct List {
    /// Revoked ones too
    #[arg(long)]
    pub all: bool,
    /// Only the tokens of exactly this name
    #[arg(long)]
    pub name: Option<String>,
    /// Only the tokens that hold this scope
    #[arg(long)]
    pub scope: Option<String>,
    #[command(flatten)]
    pub limit: Limit,
}

#[derive(Debug, Args)]
pub struct Info {
    /// Its id, or its name
    #[arg(value_name = "TOKEN_ID")]
    pub id: String,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// Its id, or its name
    #[arg(value_name = "TOKEN_ID")]
    pub id: String,
    /// Why, for the list and the audit log
    #[arg(long)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Args)]
pub struct Extend {
    /// Its id, or its name
    #[arg(value_name = "TOKEN_ID")]
    pub id: String,
    /// Days to add to what is left
    #[arg(long, value_name = "DAYS", value_parser = days())]
    pub days: u32,
}

#[derive(Debug, Args)]
pub struct Rotate {
    /// Its id, or its name
    #[arg(value_name = "TOKEN_ID")]
    pub id: String,
    /// Seconds for which the old secret still works
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2_592_000))]
    pub grace: u32,
    /// Repeat an earlier call that got no answer: the same key gets the same secret
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub struct Validate {
    /// Scopes that it must hold, all of them
    #[arg(long, num_args = 1.., value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// The address it is used from
    #[arg(long, value_name = "ADDRESS")]
    pub client_ip: Option<std::net::IpAddr>,
}

fn time(text: &str) -> Result<Time, String> {
    // A date's own parser would take a local time and drop it without a word.
    let is_date = text.len() == "2027-01-31".len();
    let first_moment = |date: jiff::civil::Date| date.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp());
    let timestamp = if is_date { text.parse().and_then(first_moment) } else { text.parse() };
    timestamp
        .map(|timestamp| Time::from_millis(timestamp.as_millisecond()))
        .map_err(|_| "expected a time such as 2027-01-31T12:00:00Z, or a date such as 2027-01-31".to_owned())
}

fn cidr(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| "expected a network such as 10.0.0.0/8, or an address".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_first_moment_and_a_local_time_is_refused() {
        assert_eq!(time("2027-01-31").unwrap().to_string(), "2027-01-31T00:00:00Z");
        assert_eq!(time("2027-01-31T12:00:00+01:00").unwrap().to_string(), "2027-01-31T11:00:00Z");
        for text in ["", "tomorrow", "31.01.2027", "2027-01-31T12:00:00", "2027-01-31T12:00"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_is_a_network_of_one() {
        assert_eq!(cidr("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(cidr("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert!(cidr("10.0.0.0/33").is_err());
    }

    #[test]
    fn metadata_keeps_what_follows_the_first_equals_sign() {
        assert_eq!(pair("query=a=b").unwrap(), ("query".to_owned(), "a=b".to_owned()));
        assert_eq!(pair("empty=").unwrap(), ("empty".to_owned(), String::new()));
        assert!(pair("=x").is_err() && pair("x").is_err());
    }
}
