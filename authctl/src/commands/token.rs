//! API tokens.

use serde_json::Value;
use shared::api::tokens::{
    CreateToken, CreatedToken, ExtendToken, ListTokens, RevokeToken, RotateToken, RotatedToken, ShowToken, Token,
    ValidateToken,
};
use shared::cli::{Column, Exit, Grid, moment, relative};
use shared::id::TokenId;
use shared::secret::Secret;
use shared::time::Time;

use super::{Context, listing, password};
use crate::args;
use crate::error::Error;
use crate::output::write_record;

listing!(ListTokens, tokens);

pub(super) async fn run(command: args::Token, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        args::Token::Create(args) => create(args, context).await,
        args::Token::List(args) => list(args, context).await,
        args::Token::Info(args) => info(args, context).await,
        args::Token::Revoke(args) => revoke(args, context).await,
        args::Token::Extend(args) => extend(args, context).await,
        args::Token::Rotate(args) => rotate(args, context).await,
        args::Token::Validate(args) => validate(args, context).await,
    }
}

pub(super) async fn create(args: args::Create, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let metadata = args.metadata();
    let key = args.idempotency_key.unwrap_or_else(context.io.new_key);
    let request = CreateToken {
        name: args.name,
        scopes: args.scopes,
        ttl_days: args.ttl,
        expires_at: args.expires_at,
        metadata,
        cidrs: args.cidrs,
        idempotency_key: Some(key.clone()),
    };
    let created = context.call_with_key(&request, &key).await?;
    show_created(&created, context).map_err(|error| error.with_key(key))
}

fn show_created(created: &CreatedToken, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if context.print_object(created)? {
        return Ok(Exit::Ok);
    }
    let expires = expiry(context.now(), created.expires_at);
    let about = format!(
        "Minted {}, id {}, scopes {}, expires: {expires}.",
        created.name,
        created.token_id,
        created.scopes.join(" ")
    );
    show_secret(context, &about, &created.token)
}

/// The secret goes to stdout alone, the words around it to stderr: the same command works for eyes and for `$(…)`.
pub(super) fn show_secret(context: &mut Context<'_, '_>, about: &str, secret: &Secret) -> Result<Exit, Error> {
    writeln!(context.io.err, "{}", shared::cli::clean(about))?;
    writeln!(context.io.err, "This is the token. Keep it now: it is not shown again.\n")?;
    writeln!(context.io.out, "{}", secret.expose())?;
    context.io.out.flush()?;
    Ok(Exit::Ok)
}

pub(super) async fn list(args: args::List, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = ListTokens { include_revoked: args.all, name: args.name, scope: args.scope, ..ListTokens::default() };
    let list = context.pages(request, args.limit.limit).await?;
    if context.print_object(&list)? {
        return Ok(Exit::Ok);
    }
    if list.tokens.is_empty() {
        writeln!(context.io.err, "No tokens. `authctl create NAME --scopes SCOPE` mints one")?;
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let mut grid = Grid::new([
        Column::Whole("ID"),
        Column::Wrapped("NAME"),
        Column::Wrapped("SCOPES"),
        Column::Whole("EXPIRES"),
        Column::Spare("LAST USED"),
    ]);
    for token in &list.tokens {
        grid.row([
            token.token_id.to_string(),
            token.name.clone(),
            token.scopes.join(" "),
            end_of(now, token),
            token.last_used_at.map_or_else(|| "never".to_owned(), |at| relative(now, at)),
        ]);
    }
    write!(context.io.out, "{}", grid.render(context.io.width))?;
    let total = format!("{}{}", list.total, if list.total_capped { " or more" } else { "" });
    context.note_more(list.next_cursor.as_ref(), Some(total))?;
    Ok(Exit::Ok)
}

pub(super) async fn info(args: args::Info, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let token = context.call(&ShowToken { id: args.id }).await?;
    show(&token, context)
}

fn show(token: &Token, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if context.print_object(token)? {
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let text_of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let metadata: Vec<String> = token.metadata.iter().map(|(key, value)| format!("{key}={}", text_of(value))).collect();
    let cidrs: Vec<String> = token.cidrs.iter().map(ToString::to_string).collect();
    let revoked = token.revoked_at.map(|at| {
        let reason = token.revoke_reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        moment(now, at) + &reason
    });
    write_record(
        context.io,
        [
            ("ID", token.token_id.to_string()),
            ("Name", token.name.clone()),
            ("Scopes", token.scopes.join(" ")),
            ("Created", format!("{} by {}", moment(now, token.created_at), token.created_by)),
            ("Expires", expiry(now, token.expires_at)),
            ("Revoked", revoked.unwrap_or_default()),
            ("Last used", token.last_used_at.map_or_else(|| "never".to_owned(), |at| moment(now, at))),
            ("Networks", cidrs.join(" ")),
            ("Metadata", metadata.join(" ")),
        ],
    )?;
    Ok(Exit::Ok)
}

pub(super) async fn revoke(args: args::Revoke, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let mut id = args.id;
    context
        .ask(args.consent, async || {
            let token = context.call(&ShowToken { id: id.clone() }).await?;
            id = token.token_id.to_string();
            let name = shared::cli::clean(&token.name).into_owned();
            Ok(format!("Revoke {name} ({})? It cannot be undone", token.token_id))
        })
        .await?;
    let id = id_of(id, context).await?;
    let revoked = context.call(&RevokeToken { id, reason: args.reason }).await?;
    if !context.print_object(&revoked)? {
        let when = moment(context.now(), revoked.revoked_at);
        writeln!(context.io.out, "Revoked {}, {when}", revoked.token_id)?;
    }
    Ok(Exit::Ok)
}

/// The id of a token that was named: a name can go to another token, so that a call by name must not be repeated.
async fn id_of(token: String, context: &mut Context<'_, '_>) -> Result<String, Error> {
    if token.parse::<TokenId>().is_ok() {
        return Ok(token);
    }
    match context.call(&ShowToken { id: token.clone() }).await {
        Ok(found) => Ok(found.token_id.to_string()),
        // Who may revoke but not read still can.
        Err(error) if error.is_forbidden() => Ok(token),
        Err(error) => Err(error),
    }
}

async fn extend(args: args::Extend, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let token = context.call(&ExtendToken { id: args.id, extend_days: args.days }).await?;
    show(&token, context)
}

async fn rotate(args: args::Rotate, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let key = args.idempotency_key.unwrap_or_else(context.io.new_key);
    let request = RotateToken { id: args.id, grace_seconds: Some(args.grace), idempotency_key: Some(key.clone()) };
    let rotated = context.call_with_key(&request, &key).await?;
    show_rotated(&rotated, args.grace, context).map_err(|error| error.with_key(key))
}

fn show_rotated(rotated: &RotatedToken, grace: u32, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if context.print_object(rotated)? {
        return Ok(Exit::Ok);
    }
    let previous = moment(context.now(), rotated.previous_expires_at);
    let about = if grace == 0 {
        format!("Rotated {}, id {}. The old secret does not work any more.", rotated.name, rotated.token_id)
    } else {
        format!("Rotated {}, id {}. The old secret stops working {previous}.", rotated.name, rotated.token_id)
    };
    show_secret(context, &about, &rotated.token)
}

async fn validate(args: args::Validate, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = ValidateToken {
        token: password::token(context.io)?,
        required_scopes: (!args.scopes.is_empty()).then_some(args.scopes),
        client_ip: args.client_ip,
        service_name: Some("authctl".to_owned()),
        action_name: None,
    };
    let validation = context.call(&request).await?;
    let exit = if validation.valid { Exit::Ok } else { Exit::Refused };
    if context.print_object(&validation)? {
        return Ok(exit);
    }
    if validation.valid {
        write_record(
            context.io,
            [
                ("Valid", "yes".to_owned()),
                ("ID", validation.token_id.map(|id| id.to_string()).unwrap_or_default()),
                ("Name", validation.name.unwrap_or_default()),
                ("Scopes", validation.scopes.join(" ")),
            ],
        )?;
    } else {
        write_record(context.io, [("Valid", "no".to_owned()), ("Why", validation.detail.unwrap_or_default())])?;
    }
    Ok(exit)
}

pub(super) fn expiry(now: Time, expires_at: Option<Time>) -> String {
    match expires_at {
        None => "never".to_owned(),
        Some(at) if at <= now => format!("expired {}", moment(now, at)),
        Some(at) => moment(now, at),
    }
}

/// When it ends, or how it ended.
pub(super) fn end_of(now: Time, token: &Token) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("revoked {}", relative(now, at)),
        (None, None) => "never".to_owned(),
        (None, Some(at)) if at <= now => format!("expired {}", relative(now, at)),
        (None, Some(at)) => relative(now, at),
    }
}
