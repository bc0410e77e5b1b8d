//! The operations: authorize, load, decide, save.

use serde_json::json;
use sha2::{Digest, Sha256};
use shared::api::tokens::{
    CreateToken, CreatedToken, ExtendToken, ListTokens, RevokeToken, RevokedToken, RotateToken, RotatedToken,
    ShowToken, Token, TokenList,
};
use shared::id::TokenId;
use shared::op::Permission;
use shared::problem::Code;
use shared::secret::Secret;
use shared::time::Time;

use super::model::{self, RANDOM};
use super::store::{self, Used};
use crate::app::Ctx;
use crate::db::Statement;
use crate::error::{Error, Result};
use crate::keys::Purpose;
use crate::ledger::{Change, Refused};
use crate::world::{DAY, Millis, SECOND};

/// How long a retry with the same `Idempotency-Key` gets the same answer.
const IDEMPOTENCY_LIFE: Millis = DAY;

pub async fn create(ctx: Ctx, op: CreateToken) -> Result<CreatedToken> {
    let now = ctx.now();
    model::check_name(&op.name)?;
    model::check_scopes(&op.scopes)?;
    check_held(&ctx, &op.scopes)?;
    if op.cidrs.len() > model::MAX_CIDRS {
        return Err(Error::field("cidrs", format!("at most {}", model::MAX_CIDRS)));
    }
    let metadata_length = op.metadata.as_ref().map_or(0, |metadata| json!(metadata).to_string().len());
    if metadata_length > model::MAX_METADATA {
        return Err(Error::field("metadata", format!("at most {} bytes of JSON", model::MAX_METADATA)));
    }
    let expires_at = match (op.ttl_days, op.expires_at) {
        (Some(_), Some(_)) => return Err(Error::field("expires_at", "give either ttl_days or expires_at")),
        (Some(days), None) => Some(model::after_days("ttl_days", now, days)?),
        (None, Some(at)) if at.millis() <= now => return Err(Error::field("expires_at", "is not in the future")),
        (None, at) => at.map(Time::millis),
    };
    // A retry is rare: that it is one shows when its name or its key is taken.
    let attempt = Attempt::new(&ctx, "tokens.create", op.idempotency_key.as_deref(), &op)?;
    let token = Token {
        token_id: TokenId(ctx.app.world.uuid()),
        name: op.name,
        scopes: op.scopes,
        created_at: Time::from_millis(now),
        created_by: ctx.caller.to_string(),
        expires_at: expires_at.map(Time::from_millis),
        revoked_at: None,
        revoke_reason: None,
        last_used_at: None,
        metadata: op.metadata.unwrap_or_default(),
        cidrs: op.cidrs,
    };
    Ok(issue(&ctx, &token, &attempt, "tokens.create", None).await?)
}

/// Makes a token of what has been checked. `required` is one more thing that must hold when it is committed: its failure
/// comes back by its name.
pub(super) async fn issue(
    ctx: &Ctx,
    token: &Token,
    attempt: &Attempt,
    action: &'static str,
    required: Option<Statement>,
) -> Result<CreatedToken, Refused> {
    let now = token.created_at.millis();
    let (secret, used) = attempt.secret(ctx, token.token_id, now)?;
    let change = |frees_name: bool| -> Result<Change> {
        // The key first: of several requests with one key those that lose answer by the record of the one that won.
        let change = Change::new(action, token.token_id)
            .with(attempt.remember(used.as_ref(), now))
            .with(frees_name.then(|| store::free_name(&token.name, now)))
            .with(store::insert(token, &model::hash(secret.expose()))?)
            .with(required.clone())
            .requires(permissions(&token.scopes));
        Ok(change.detail([
            ("name", Some(json!(token.name))),
            ("scopes", Some(json!(token.scopes))),
            ("expires_at", token.expires_at.map(|at| json!(at))),
        ]))
    };
    let ledger = &ctx.app.ledger;
    let mut committed = ledger.commit(ctx, change(false)?).await;
    if let Err(Refused::Duplicate(store::INSERT_TOKEN)) = committed {
        committed = ledger.commit(ctx, change(true)?).await;
    }
    match committed {
        Ok(_) => Ok(created(token, secret)),
        Err(Refused::ExpectationFailed(store::FREE_NAME) | Refused::Duplicate(store::INSERT_TOKEN)) => {
            let detail = format!("a live token is already named {:?}", token.name);
            Err(Error::new(Code::NameTaken, detail).into())
        }
        Err(Refused::ExpectationFailed(store::INSERT_IDEMPOTENCY)) => match attempt.find(ctx).await? {
            Some(used) => Ok(repeat_create(ctx, attempt, &used).await?),
            None => Err(expired_meanwhile().into()),
        },
        Err(refused) => Err(refused),
    }
}

async fn repeat_create(ctx: &Ctx, attempt: &Attempt, used: &Used) -> Result<CreatedToken> {
    let token = find(ctx, &used.subject).await?;
    if token.revoked_at.is_some() {
        let detail = "this Idempotency-Key made a token that is revoked by now: use another key";
        return Err(Error::new(Code::Conflict, detail));
    }
    Ok(created(&token, attempt.repeat(ctx, used)?))
}

fn created(token: &Token, secret: Secret) -> CreatedToken {
    CreatedToken {
        token: secret,
        token_id: token.token_id,
        name: token.name.clone(),
        scopes: token.scopes.clone(),
        created_at: token.created_at,
        expires_at: token.expires_at,
    }
}

pub async fn list(ctx: Ctx, op: ListTokens) -> Result<TokenList> {
    let limit = op.limit.unwrap_or_default().rows();
    let after = match &op.cursor {
        Some(cursor) => Some(cursor.parse().map_err(|_| Error::field("cursor", "not a cursor that a list answered"))?),
        None => None,
    };
    let db = ctx.app.db.as_ref();
    let mut tokens = store::list(db, &op, after, limit).await?;
    let next_cursor = (tokens.len() > limit).then(|| tokens[limit - 1].token_id.to_string());
    tokens.truncate(limit);
    let counted = store::count(db, &op).await?;
    let total_capped = counted > u64::from(store::COUNTED) && (op.name.is_some() || op.scope.is_some());
    let total = if total_capped { u64::from(store::COUNTED) } else { counted };
    Ok(TokenList { tokens, total, total_capped, next_cursor })
}

pub async fn show(ctx: Ctx, op: ShowToken) -> Result<Token> {
    find(&ctx, &op.id).await
}

pub async fn revoke(ctx: Ctx, op: RevokeToken) -> Result<RevokedToken> {
    revoke_as(ctx, op, "tokens.revoke").await
}

/// Revokes under the audit name of another operation. Whether the caller may is decided there.
pub(crate) async fn revoke_as(ctx: Ctx, op: RevokeToken, action: &'static str) -> Result<RevokedToken> {
    let now = ctx.now();
    let is_unfit = |reason: &String| reason.chars().count() > model::MAX_REASON || reason.chars().any(char::is_control);
    if op.reason.as_ref().is_some_and(is_unfit) {
        return Err(Error::field("reason", format!("at most {} characters, no control characters", model::MAX_REASON)));
    }
    let token = find(&ctx, &op.id).await?;
    let revoked = |at: Time| RevokedToken { success: true, token_id: token.token_id, revoked_at: at };
    if let Some(at) = token.revoked_at {
        // Whoever revoked it may not have come to forget it.
        ctx.app.ledger.forget(&[super::invalidation(token.token_id)]).await;
        return Ok(revoked(at));
    }
    let mut change = Change::new(action, token.token_id)
        .with(store::revoke(token.token_id, op.reason.as_deref(), now))
        .invalidates(super::invalidation(token.token_id))
        .detail([("name", Some(json!(token.name))), ("reason", op.reason.as_ref().map(|reason| json!(reason)))]);
    if ctx.caller.is_token(token.token_id) {
        change = change.self_proving();
    }
    match ctx.app.ledger.commit(&ctx, change).await {
        Ok(_) => Ok(revoked(Time::from_millis(now))),
        Err(Refused::ExpectationFailed(store::REVOKE)) => {
            // Somebody else was first, and their time stands.
            let token = find(&ctx, &token.token_id.to_string()).await?;
            Ok(revoked(token.revoked_at.unwrap_or(Time::from_millis(now))))
        }
        Err(refused) => Err(refused.into()),
    }
}

pub async fn extend(ctx: Ctx, op: ExtendToken) -> Result<Token> {
    let now = ctx.now();
    let token = find_live(&ctx, &op.id).await?;
    let Some(expires_at) = token.expires_at else {
        return Err(Error::new(Code::Conflict, "the token does not expire: there is nothing to extend"));
    };
    let extended = model::after_days("extend_days", expires_at.millis().max(now), op.extend_days)?;
    let change = Change::new("tokens.extend", token.token_id)
        .with(store::extend(&token, extended))
        .invalidates(super::invalidation(token.token_id))
        .requires(permissions(&token.scopes));
    let extended = Time::from_millis(extended);
    let change = change.detail([("from", Some(json!(expires_at))), ("to", Some(json!(extended)))]);
    match ctx.app.ledger.commit(&ctx, change).await {
        Ok(_) => Ok(Token { expires_at: Some(extended), ..token }),
        Err(Refused::ExpectationFailed(store::EXTEND)) => {
            Err(Error::new(Code::Conflict, "the token was changed at the same time; try again"))
        }
        Err(Refused::Duplicate(store::EXTEND)) => {
            let detail = format!("the token had expired, and another one is now named {:?}", token.name);
            Err(Error::new(Code::NameTaken, detail))
        }
        Err(refused) => Err(refused.into()),
    }
}

pub async fn rotate(ctx: Ctx, op: RotateToken) -> Result<RotatedToken> {
    let now = ctx.now();
    let grace = op.grace_seconds.unwrap_or_default();
    if grace > model::MAX_GRACE_SECONDS {
        return Err(Error::field("grace_seconds", format!("expected 0 to {}", model::MAX_GRACE_SECONDS)));
    }
    let token = find_live(&ctx, &op.id).await?;
    if token.expires_at.is_some_and(|at| at.millis() <= now) {
        return Err(Error::new(Code::Conflict, "the token has expired: extend it, then rotate it"));
    }
    let rotated = |secret: Secret, at: Millis| RotatedToken {
        token: secret,
        token_id: token.token_id,
        name: token.name.clone(),
        scopes: token.scopes.clone(),
        expires_at: token.expires_at,
        previous_expires_at: Time::from_millis(at + Millis::from(grace) * SECOND),
    };
    let attempt = Attempt::new(&ctx, "tokens.rotate", op.idempotency_key.as_deref(), &op)?;
    if let Some(used) = attempt.find(&ctx).await? {
        return Ok(rotated(attempt.repeat_for(&ctx, &used, token.token_id)?, used.at));
    }
    let (secret, used) = attempt.secret(&ctx, token.token_id, now)?;
    let previous_end = now + Millis::from(grace) * SECOND;
    let change = Change::new("tokens.rotate", token.token_id)
        .with(attempt.remember(used.as_ref(), now))
        .with(store::rotate(token.token_id, &model::hash(secret.expose()), previous_end))
        .invalidates(super::invalidation(token.token_id))
        .requires(permissions(&token.scopes))
        .detail([("grace_seconds", Some(json!(grace)))]);
    match ctx.app.ledger.commit(&ctx, change).await {
        Ok(_) => Ok(rotated(secret, now)),
        Err(Refused::ExpectationFailed(store::ROTATE)) => Err(revoked()),
        Err(Refused::ExpectationFailed(store::INSERT_IDEMPOTENCY)) => match attempt.find(&ctx).await? {
            Some(used) => Ok(rotated(attempt.repeat_for(&ctx, &used, token.token_id)?, used.at)),
            None => Err(expired_meanwhile()),
        },
        Err(refused) => Err(refused.into()),
    }
}

async fn find(ctx: &Ctx, id_or_name: &str) -> Result<Token> {
    store::find(ctx.app.db.as_ref(), id_or_name).await?.ok_or_else(|| Error::not_found("token"))
}

/// A token that is not revoked, and that may do no more on authd than the caller: whoever could extend or rotate
/// a mightier one would hold what they were not given.
async fn find_live(ctx: &Ctx, id_or_name: &str) -> Result<Token> {
    let token = find(ctx, id_or_name).await?;
    check_held(ctx, &token.scopes)?;
    if token.revoked_at.is_some() { Err(revoked()) } else { Ok(token) }
}

/// INSERT conflicted with an existing idempotency record that has expired since.
fn expired_meanwhile() -> Error {
    Error::new(Code::Conflict, "the first use of this Idempotency-Key ended just now; try again").retry_after(1)
}

fn revoked() -> Error {
    Error::new(Code::Conflict, "the token is revoked, and that is for good: mint another one")
}

/// What a token of these scopes may do on authd: whoever hands it out must hold that.
fn permissions(scopes: &[String]) -> impl Iterator<Item = Permission> {
    let of_service = scopes.iter().any(|scope| model::service_of(scope).is_some()).then_some(Permission::AccessWrite);
    scopes.iter().filter_map(|scope| Permission::from_scope(scope)).chain(of_service)
}

/// Nobody hands out a permission on authd that they do not hold.
fn check_held(ctx: &Ctx, scopes: &[String]) -> Result<()> {
    let lacks = |scope: &&String| Permission::from_scope(scope).is_some_and(|permission| !ctx.caller.can(permission));
    if scopes.iter().any(|scope| model::service_of(scope).is_some()) && !ctx.caller.can(Permission::AccessWrite) {
        let detail = "this is a service's own token: it takes the permission access.write";
        return Err(Error::new(Code::Forbidden, detail));
    }
    match scopes.iter().find(lacks) {
        Some(scope) => Err(Error::new(Code::Forbidden, format!("you do not hold {scope} yourself"))),
        None => Ok(()),
    }
}

/// A request that mints a secret, made repeatable by its `Idempotency-Key`: the secret is then derived from the key,
/// so that a retry gets the same one and nothing is stored in clear.
pub(super) struct Attempt {
    action: &'static str,
    caller: String,
    /// The caller's key, with the hash that names it in the database and the hash of the request.
    key: Option<(String, [u8; 32])>,
    request: [u8; 32],
}

impl Attempt {
    pub(super) fn new<Op: serde::Serialize>(
        ctx: &Ctx,
        action: &'static str,
        key: Option<&str>,
        op: &Op,
    ) -> Result<Self> {
        let caller = ctx.caller.to_string();
        let key = match key {
            Some(key) if key.is_empty() || key.len() > 255 || !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(Error::field("idempotency_key", "expected 1 to 255 visible ASCII characters"));
            }
            Some(key) => {
                let mut hash = Sha256::new();
                for part in [action, &caller, key] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
                Some((key.to_owned(), hash.finalize().into()))
            }
            None => None,
        };
        // Compared with the request of the first time: without a key there is none.
        let request = match key {
            Some(_) => Sha256::digest(serde_json::to_vec(op).map_err(Error::internal)?).into(),
            None => [0; 32],
        };
        Ok(Self { action, caller, key, request })
    }

    /// What the key was used for before, if it was.
    async fn find(&self, ctx: &Ctx) -> Result<Option<Used>> {
        let Some((_, hash)) = &self.key else { return Ok(None) };
        let used = store::find_idempotency(ctx.app.db.as_ref(), hash, ctx.now()).await?;
        match used {
            Some(used) if used.request != self.request => {
                Err(Error::new(Code::IdempotencyKeyReused, "this Idempotency-Key was used for another request"))
            }
            used => Ok(used),
        }
    }

    /// A new secret, and what has to be remembered to make it again.
    fn secret(&self, ctx: &Ctx, token_id: TokenId, now: Millis) -> Result<(Secret, Option<Used>)> {
        let Some(_) = &self.key else {
            return Ok((model::mint(&ctx.app.config.tokens.prefix, &ctx.app.world.bytes()), None));
        };
        let (key_id, secret) = self.derive(ctx, None, &token_id.to_string(), now)?;
        Ok((secret, Some(Used { request: self.request.to_vec(), subject: token_id.to_string(), key_id, at: now })))
    }

    /// The secret of the first time.
    fn repeat(&self, ctx: &Ctx, used: &Used) -> Result<Secret> {
        self.derive(ctx, Some(&used.key_id), &used.subject, used.at).map(|(_, secret)| secret)
    }

    /// The same, of a token that was named: the name may belong to another one by now.
    fn repeat_for(&self, ctx: &Ctx, used: &Used, token_id: TokenId) -> Result<Secret> {
        if used.subject == token_id.to_string() { self.repeat(ctx, used) } else { Err(revoked()) }
    }

    fn derive(&self, ctx: &Ctx, key_id: Option<&str>, token_id: &str, at: Millis) -> Result<(String, Secret)> {
        let key = self.key.as_ref().map(|(key, _)| key.as_str()).unwrap_or_default();
        let at = at.to_be_bytes();
        let parts: [&[u8]; 5] =
            [self.action.as_bytes(), self.caller.as_bytes(), key.as_bytes(), token_id.as_bytes(), &at];
        let (key_id, mac) = ctx.app.keys.mac(Purpose::Mint, key_id, &parts)?;
        let mut random = [0; RANDOM];
        random.copy_from_slice(&mac[..RANDOM]);
        Ok((key_id, model::mint(&ctx.app.config.tokens.prefix, &random)))
    }

    /// The statement that remembers the use of the key, if there is one.
    fn remember(&self, used: Option<&Used>, now: Millis) -> Option<Statement> {
        let ((_, hash), used) = (self.key.as_ref()?, used?);
        Some(store::insert_idempotency(hash, used, now + IDEMPOTENCY_LIFE))
    }
}
