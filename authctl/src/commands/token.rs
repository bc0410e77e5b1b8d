//! API tokens.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;
use shared::api::tokens::{
    CreateToken, ExtendToken, ListTokens, RevokeToken, RotateToken, ShowToken, Token, TokenList, ValidateToken,
};
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, clean, moment, relative};
use shared::id::TokenId;
use shared::secret::Secret;
use shared::time::Time;

use super::{Context, listing, password};
use crate::args::{Consent, Paging};
use crate::error::Error;
use crate::values::{Life, grace, life, name_and_values, time, within, words};

listing!(ListTokens, tokens: Token; name prefix scope expires_within, |list: &TokenList| {
    Some(format!("{}{}", list.total, if list.total_capped { " or more" } else { "" }))
});

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a token and print its secret, this once
    #[command(override_usage = "authctl token create [OPTIONS] <NAME> --scopes <SCOPE>...")]
    Create(Create),
    /// List tokens, newest first
    List(List),
    /// Show one token; by name the live one, else the last one that had the name
    #[command(alias = "show")]
    Info(Info),
    /// Revoke a token permanently
    Revoke(Revoke),
    /// Extend the life of a token
    Extend {
        #[command(flatten)]
        token: Info,
        /// How much to add to the remaining time, such as 30d or 12h; a bare number is days
        #[arg(long, alias = "days", value_name = "TIME", value_parser = life)]
        by: Life,
    },
    /// Replace the secret of a token; its id stays
    Rotate {
        #[command(flatten)]
        token: Info,
        /// How long the old secret still works, such as 900s or 12h, up to 30d; a bare number is seconds
        #[arg(long, value_name = "TIME", default_value = "0", value_parser = grace)]
        grace: u32,
        /// Repeat an earlier call that got no answer: the same key gets the same secret
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Check whether a token is valid (exit code 1 when it is not); the token is read from stdin
    Validate {
        /// Scopes that it must have, all of them, separated by commas or blanks
        #[arg(long, num_args = 1.., value_name = "SCOPE")]
        scopes: Vec<String>,
        /// The address it is used from
        #[arg(long, value_name = "ADDRESS")]
        client_ip: Option<IpAddr>,
    },
}

#[derive(Debug, Args)]
pub struct Create {
    /// The token's name; unique among the tokens that are not revoked
    name: Option<String>,
    /// What it may do, separated by commas or blanks; scopes that begin with `authd:` allow managing authd itself
    #[arg(long, required = true, num_args = 1.., value_name = "SCOPE")]
    scopes: Vec<String>,
    /// How long it lives, such as 30d or 12h; a bare number is days [default: it does not expire]
    #[arg(long, value_name = "TIME", value_parser = life)]
    ttl: Option<Life>,
    /// When it expires: 2027-01-31T12:00:00Z, or a date (its first moment in UTC)
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "ttl")]
    expires_at: Option<Time>,
    /// Network or address it may be used from (repeat for more) [default: any]
    #[arg(long = "cidr", value_name = "CIDR", value_parser = cidr)]
    cidrs: Vec<IpNet>,
    /// Metadata to store with it (repeat for more)
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Repeat an earlier call that got no answer: the same key gets the same token
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub struct List {
    /// Include revoked tokens
    #[arg(long)]
    all: bool,
    /// Only tokens of exactly this name
    #[arg(long)]
    name: Option<String>,
    /// Only tokens with this scope
    #[arg(long)]
    scope: Option<String>,
    /// Only tokens whose name begins with this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only tokens that expire soon: within this time, such as 7d or 12h; a bare number is days
    #[arg(long, value_name = "TIME", value_parser = within)]
    expires_within: Option<u32>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
pub struct Info {
    /// The token's id or name
    #[arg(value_name = "TOKEN_ID")]
    id: String,
}

#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    token: Info,
    /// The reason, for the list of tokens and the audit log
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    consent: Consent,
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

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::Create(args) => create(args, context).await,
        Command::List(args) => list(args, context).await,
        Command::Info(Info { id }) => info(id, context).await,
        Command::Revoke(args) => revoke(args, context).await,
        Command::Extend { token, by } => {
            let request = ExtendToken { id: token.id, extend_days: by.days(), extend_seconds: by.seconds() };
            let token = context.call(&request).await?;
            show(&token, context)
        }
        Command::Rotate { token, grace, idempotency_key } => {
            let key = idempotency_key.unwrap_or_else(context.io.new_key);
            let idempotency_key = Some(key.clone());
            let request = RotateToken { id: token.id, grace_seconds: Some(grace), idempotency_key };
            let rotated = context.call_with_key(&request, &key).await?;
            let previous = match grace {
                0 => "no longer works".to_owned(),
                _ => format!("stops working {}", moment(context.now(), rotated.previous_expires_at)),
            };
            let about = format!("Rotated {}, id {}. The old secret {previous}.", rotated.name, rotated.token_id);
            show_secret(context, &rotated, &about, &rotated.token).map_err(|error| error.with_advice(again(&key)))
        }
        Command::Validate { scopes, client_ip } => {
            let request = ValidateToken {
                token: password::token(context.io)?,
                required_scopes: Some(words(scopes)).filter(|scopes| !scopes.is_empty()),
                client_ip,
                service_name: Some("authctl".to_owned()),
                action_name: None,
            };
            validate(&request, context).await
        }
    }
}

impl Create {
    pub(super) fn name_and_scopes(&self) -> Result<(String, Vec<String>), Error> {
        let usage = "authctl create NAME --scopes SCOPE";
        let (name, scopes) = name_and_values(self.name.clone(), self.scopes.clone(), usage)?;
        let scopes = words(scopes);
        if scopes.is_empty() { Err(Error::Usage(format!("there are no scopes: {usage}"))) } else { Ok((name, scopes)) }
    }
}

async fn create(args: Create, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let (name, scopes) = args.name_and_scopes()?;
    let metadata = args.metadata.into_iter().map(|(key, value)| (key, Value::String(value)));
    let metadata = Some(metadata.collect()).filter(|pairs: &serde_json::Map<_, _>| !pairs.is_empty());
    let key = args.idempotency_key.unwrap_or_else(context.io.new_key);
    let request = CreateToken {
        name,
        scopes,
        ttl_days: args.ttl.and_then(Life::days),
        ttl_seconds: args.ttl.and_then(Life::seconds),
        expires_at: args.expires_at,
        metadata,
        cidrs: args.cidrs,
        idempotency_key: Some(key.clone()),
    };
    let created = context.call_with_key(&request, &key).await?;
    let (name, id, scopes) = (&created.name, created.token_id, created.scopes.join(" "));
    let expires = expiry(context.now(), created.expires_at, moment);
    let about = format!("Created {name}, id {id}, scopes {scopes}, expires: {expires}.");
    show_secret(context, &created, &about, &created.token).map_err(|error| error.with_advice(again(&key)))
}

fn again(key: &str) -> String {
    format!("Repeat the command with `--idempotency-key {key}` to get the same one")
}

/// Only the secret goes to stdout, other text to stderr: the command works for people and in `$(…)`.
pub(super) fn show_secret(
    context: &mut Context<'_, '_>,
    object: &impl Serialize,
    about: &str,
    secret: &Secret,
) -> Result<Exit, Error> {
    if context.print_object(object)? {
        return Ok(Exit::Ok);
    }
    writeln!(context.io.err, "{}", clean(about))?;
    writeln!(context.io.err, "This is the token. Store it now: it is not shown again.\n")?;
    writeln!(context.io.out, "{}", secret.expose())?;
    context.io.out.flush()?;
    Ok(Exit::Ok)
}

async fn list(args: List, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let List { all, name, scope, prefix, expires_within, paging } = args;
    let request = ListTokens { include_revoked: all, name, scope, prefix, expires_within, ..ListTokens::default() };
    let columns = [Whole("ID"), Wrapped("NAME"), Wrapped("SCOPES"), Whole("EXPIRES"), Spare("LAST USED")];
    let row = |now, token: Token| {
        let (end, used) = (end_of(now, &token), last_used(now, &token));
        [token.token_id.to_string(), token.name, token.scopes.join(" "), end, used]
    };
    let empty = "No tokens. Create one: `authctl create NAME --scopes SCOPE`";
    context.list(request, paging, empty, columns, row).await
}

/// Shows a token. A name is that of the live token, else of the last one that had it: its name is free, and may be the
/// question.
async fn info(id: String, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match context.call(&ShowToken { id: id.clone() }).await {
        Err(error) if error.is_unknown("token") && id.parse::<TokenId>().is_err() => {
            let named = ListTokens { include_revoked: true, name: Some(id), ..ListTokens::default() };
            let list = context.pages(named, None, 1).await?;
            list.tokens.first().map_or(Err(error), |token| show(token, context))
        }
        shown => show(&shown?, context),
    }
}

fn show(token: &Token, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let text_of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let metadata: Vec<String> = token.metadata.iter().map(|(key, value)| format!("{key}={}", text_of(value))).collect();
    let cidrs: Vec<String> = token.cidrs.iter().map(ToString::to_string).collect();
    let reason = token.revoke_reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let now = context.now();
    let fields = [
        ("ID", token.token_id.to_string()),
        ("Name", token.name.clone()),
        ("Scopes", token.scopes.join(" ")),
        ("Created", format!("{} by {}", moment(now, token.created_at), token.created_by)),
        ("Expires", expiry(now, token.expires_at, moment)),
        ("Revoked", token.revoked_at.map(|at| moment(now, at) + &reason).unwrap_or_default()),
        (
            "Old secret",
            token.previous_expires_at.map(|at| format!("stops working {}", moment(now, at))).unwrap_or_default(),
        ),
        ("Last used", token.last_used_at.map_or_else(|| "never".to_owned(), |at| moment(now, at))),
        ("Networks", cidrs.join(" ")),
        ("Metadata", metadata.join(" ")),
    ];
    context.show(token, &fields)
}

async fn revoke(args: Revoke, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let identify = |token: Token| (token.token_id.to_string(), token.name);
    let question = |id: &str, name: &str| format!("Revoke {name} ({id})? It cannot be undone");
    let show = |id| ShowToken { id };
    let (mut id, _) = context.ask_about(args.consent, args.token.id, show, identify, question).await?;
    // Another token can take the name, so a call by name must not be repeated.
    if id.parse::<TokenId>().is_err() {
        match context.call(&show(id.clone())).await {
            Ok(found) => id = found.token_id.to_string(),
            // A caller who may revoke but not read can still revoke.
            Err(error) if error.status() == Some(403) => {}
            Err(error) => return Err(error),
        }
    }
    let revoked = context.call(&RevokeToken { id, reason: args.reason }).await?;
    let now = context.now();
    context.tell(&revoked, || format!("Revoked {}, {}", revoked.token_id, moment(now, revoked.revoked_at)))
}

async fn validate(request: &ValidateToken, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let validation = context.call(request).await?;
    if validation.valid {
        let fields = [
            ("Valid", "yes".to_owned()),
            ("ID", validation.token_id.map(|id| id.to_string()).unwrap_or_default()),
            ("Name", validation.name.clone().unwrap_or_default()),
            ("Scopes", validation.scopes.join(" ")),
        ];
        context.show(&validation, &fields)
    } else {
        let fields = [("Valid", "no".to_owned()), ("Why", validation.detail.clone().unwrap_or_default())];
        context.show(&validation, &fields)?;
        Ok(Exit::Refused)
    }
}

/// When something expires, or expired.
pub(super) fn expiry(now: Time, expires_at: Option<Time>, tell: fn(Time, Time) -> String) -> String {
    match expires_at {
        None => "never".to_owned(),
        Some(at) if at <= now => format!("expired {}", tell(now, at)),
        Some(at) => tell(now, at),
    }
}

/// When a token expires, or how it ended.
pub(super) fn end_of(now: Time, token: &Token) -> String {
    match token.revoked_at {
        Some(at) => format!("revoked {}", relative(now, at)),
        None => expiry(now, token.expires_at, relative),
    }
}

pub(super) fn last_used(now: Time, token: &Token) -> String {
    token.last_used_at.map_or_else(|| "never".to_owned(), |at| relative(now, at))
}

#[cfg(test)]
mod tests {
    use super::*;

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
