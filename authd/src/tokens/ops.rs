//! The operations: authorize, load, decide, save.

use serde_json::{Value as Json, json};
use shared::api::tokens::{
    CreateToken, CreatedToken, ExtendToken, ListTokens, MAX_GRACE_SECONDS, MAX_REASON, RevokeToken, RevokedToken,
    RotateToken, RotatedToken, ShowToken, Token, TokenList,
};
use shared::id::TokenId;
use shared::op::{Operation, Permission};
use shared::problem::Code;
use shared::secret::Secret;
use shared::time::Time;

use super::Tokens;
use super::idempotency::IdempotentRequest;
use super::list::{self, Filter};
use super::model;
use super::store;
use crate::authority::MAX_GRACE;
use crate::call::Call;
use crate::caller::Caller;
use crate::db::Statement;
use crate::env::{Millis, SECOND, is_ahead};
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::page::Page;

impl Tokens {
    pub async fn create(&self, call: Call, op: CreateToken) -> Result<CreatedToken> {
        model::check_name(&op.name)?;
        model::check_scopes(&op.scopes)?;
        check_held(&call.caller, &op.scopes)?;
        Ok(self.issue(&call, op, CreateToken::INFO.name, None).await?)
    }

    /// Creates a token whose name and scopes have been checked. `required` is one more statement of the batch; its
    /// failure is returned by its name.
    pub(super) async fn issue(
        &self,
        call: &Call,
        op: CreateToken,
        action: &'static str,
        required: Option<Statement>,
    ) -> Result<CreatedToken, Refused> {
        let now = self.base.now();
        let expires_at = model::check_terms(&op, now)?;
        // A retry is rare: it is detected when the name or the key is taken.
        let request = IdempotentRequest::new(&call.caller, action, op.idempotency_key.as_deref(), &op)?;
        let token = Token {
            token_id: TokenId(self.base.env.uuid()),
            name: op.name,
            scopes: op.scopes,
            created_at: Time::from_millis(now),
            created_by: call.caller.to_string(),
            expires_at: expires_at.map(Time::from_millis),
            revoked: false,
            revoked_at: None,
            revoke_reason: None,
            last_used_at: None,
            metadata: op.metadata.unwrap_or_default(),
            cidrs: op.cidrs,
            previous_expires_at: None,
        };
        let (secret, used) = request.secret(self, token.token_id, now)?;
        let change = |frees_name: bool| -> Result<Change> {
            // The key first: of concurrent requests with one key, the others use the record of the one that succeeded.
            let change = Change::new(action, token.token_id)
                .with(request.remember(used.as_ref()))
                .with(frees_name.then(|| store::free_name(&token.name, now)))
                .with(store::insert(&token, &model::hash(secret.expose()))?)
                .with(required.clone())
                .requires(permissions(&token.scopes));
            Ok(change.detail([
                ("name", Some(json!(token.name))),
                ("scopes", Some(json!(token.scopes))),
                ("expires_at", token.expires_at.map(|at| json!(at))),
            ]))
        };
        let ledger = &self.base.ledger;
        let mut committed = ledger.commit(call, change(false)?).await;
        if let Err(Refused::Duplicate(store::INSERT_TOKEN)) = committed {
            committed = ledger.commit(call, change(true)?).await;
        }
        match committed {
            Ok(_) => Ok(created(token, secret)),
            Err(Refused::ExpectationFailed(store::FREE_NAME) | Refused::Duplicate(store::INSERT_TOKEN)) => {
                let detail = format!("a live token is already named {:?}", token.name);
                Err(Error::new(Code::NameTaken, detail).into())
            }
            Err(Refused::ExpectationFailed(store::INSERT_IDEMPOTENCY)) => {
                let used = request.first_use(self).await?;
                let token = self.find_stored(&used.token_id.to_string()).await?;
                if token.revoked_at.is_some() {
                    let detail = "this Idempotency-Key created a token that is now revoked: use another key";
                    return Err(Error::new(Code::Conflict, detail).into());
                }
                let secret = request.repeat(self, &used, token.token_id)?;
                Ok(created(token, secret))
            }
            Err(refused) => Err(refused),
        }
    }

    pub async fn list(&self, _: Call, op: ListTokens) -> Result<TokenList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        model::check_within(op.expires_within)?;
        let (db, filter) = (self.base.db.as_ref(), Filter::new(&op, self.base.now()));
        let (tokens, next_cursor) = page.cut(list::list(db, &filter, &page).await?, |token| token.token_id);
        let counted = list::count(db, &filter).await?;
        let total_capped = counted > u64::from(list::COUNTED) && !filter.is_all();
        let total = if total_capped { u64::from(list::COUNTED) } else { counted };
        Ok(TokenList { tokens, total, total_capped, next_cursor })
    }

    pub async fn show(&self, _: Call, op: ShowToken) -> Result<Token> {
        let token = self.find_stored(&op.id).await?;
        let previous_end = store::find_previous_end(self.base.db.as_ref(), token.token_id).await?;
        let previous_end =
            previous_end.filter(|end| token.revoked_at.is_none() && is_ahead(*end, self.base.now(), MAX_GRACE));
        Ok(Token { previous_expires_at: previous_end.map(Time::from_millis), ..token })
    }

    pub async fn revoke(&self, call: Call, op: RevokeToken) -> Result<RevokedToken> {
        self.revoke_as(call, op, RevokeToken::INFO.name).await
    }

    /// Revokes with another operation as the audit action, which has authorized the caller.
    pub async fn revoke_as(&self, call: Call, op: RevokeToken, action: &'static str) -> Result<RevokedToken> {
        let now = self.base.now();
        let is_unfit = |text: &str| text.chars().count() > MAX_REASON || text.chars().any(char::is_control);
        if op.reason.as_deref().is_some_and(is_unfit) {
            let detail = format!("at most {MAX_REASON} characters, no control characters");
            return Err(Error::field("reason", detail));
        }
        let token = self.find_stored(&op.id).await?;
        let revoked = |at: Time| RevokedToken { success: true, token_id: token.token_id, revoked_at: at };
        if let Some(at) = token.revoked_at {
            // The call that revoked it may not have invalidated the cache yet.
            self.base.ledger.forget(&[Invalidation::token(token.token_id)]).await;
            return Ok(revoked(at));
        }
        let (reason, at) = (op.reason.as_deref(), Time::from_millis(now));
        let detail = ("reason", reason.map(|reason| json!(reason)));
        if self.end(&call, &token, action, reason, now, detail).await? {
            return Ok(revoked(at));
        }
        // Another call was first, and its time is kept.
        let token = self.find_stored(&token.token_id.to_string()).await?;
        Ok(revoked(token.revoked_at.unwrap_or(at)))
    }

    /// Revokes a token that was just found live; false if another call was first. `detail` goes into the audit
    /// row beside the name.
    pub(super) async fn end(
        &self,
        call: &Call,
        token: &Token,
        action: &'static str,
        reason: Option<&str>,
        now: Millis,
        detail: (&str, Option<Json>),
    ) -> Result<bool> {
        let mut change = Change::new(action, token.token_id)
            .with(store::revoke(token.token_id, reason, now))
            .invalidates(Invalidation::token(token.token_id))
            .detail([("name", Some(json!(token.name))), detail])
            .urgent();
        if call.caller.is_token(token.token_id) {
            change = change.self_proving();
        }
        match self.base.ledger.commit(call, change).await {
            Ok(_) => Ok(true),
            Err(Refused::ExpectationFailed(store::REVOKE)) => Ok(false),
            Err(refused) => Err(refused.into()),
        }
    }

    pub async fn extend(&self, call: Call, op: ExtendToken) -> Result<Token> {
        let length = model::length("extend_", op.extend_days, op.extend_seconds)?;
        let length = length.ok_or_else(|| Error::field("extend_days", "give either extend_days or extend_seconds"))?;
        let now = self.base.now();
        let token = self.find_live(&call, &op.id).await?;
        let Some(expires_at) = token.expires_at else {
            return Err(Error::new(Code::Conflict, "the token does not expire: there is nothing to extend"));
        };
        let end = expires_at.millis().max(now).saturating_add(length);
        let extended = Time::from_millis(end);
        let change = Change::new(ExtendToken::INFO.name, token.token_id)
            .with(store::extend(&token, end))
            .invalidates(Invalidation::token(token.token_id))
            .requires(permissions(&token.scopes))
            .detail([("from", Some(json!(expires_at))), ("to", Some(json!(extended)))]);
        match self.base.ledger.commit(&call, change).await {
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

    pub async fn rotate(&self, call: Call, op: RotateToken) -> Result<RotatedToken> {
        let now = self.base.now();
        let grace = op.grace_seconds.unwrap_or_default();
        if grace > MAX_GRACE_SECONDS {
            return Err(Error::field("grace_seconds", format!("expected 0 to {MAX_GRACE_SECONDS}")));
        }
        let request = IdempotentRequest::new(&call.caller, RotateToken::INFO.name, op.idempotency_key.as_deref(), &op)?;
        let token = self.find_live(&call, &op.id).await?;
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
        if let Some(used) = request.find(self).await? {
            return Ok(rotated(request.repeat(self, &used, token.token_id)?, used.at));
        }
        let (secret, used) = request.secret(self, token.token_id, now)?;
        let previous_end = now + Millis::from(grace) * SECOND;
        let change = Change::new(RotateToken::INFO.name, token.token_id)
            .with(request.remember(used.as_ref()))
            .with(store::rotate(token.token_id, &model::hash(secret.expose()), previous_end))
            .invalidates(Invalidation::token(token.token_id))
            .requires(permissions(&token.scopes))
            .detail([("grace_seconds", Some(json!(grace)))]);
        match self.base.ledger.commit(&call, change).await {
            Ok(_) => Ok(rotated(secret, now)),
            Err(Refused::ExpectationFailed(store::ROTATE)) => Err(revoked()),
            Err(Refused::ExpectationFailed(store::INSERT_IDEMPOTENCY)) => {
                let used = request.first_use(self).await?;
                Ok(rotated(request.repeat(self, &used, token.token_id)?, used.at))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    async fn find_stored(&self, id_or_name: &str) -> Result<Token> {
        store::find(self.base.db.as_ref(), id_or_name).await?.ok_or_else(|| Error::not_found("token"))
    }

    /// A token that is not revoked and has no permissions on authd that the caller lacks: extending or rotating such a
    /// token would give the caller its permissions.
    async fn find_live(&self, call: &Call, id_or_name: &str) -> Result<Token> {
        let token = self.find_stored(id_or_name).await?;
        check_held(&call.caller, &token.scopes)?;
        if token.revoked_at.is_some() { Err(revoked()) } else { Ok(token) }
    }
}

fn created(token: Token, secret: Secret) -> CreatedToken {
    let Token { token_id, name, scopes, created_at, expires_at, .. } = token;
    CreatedToken { token: secret, token_id, name, scopes, created_at, expires_at }
}

pub(super) fn revoked() -> Error {
    Error::new(Code::Conflict, "the token is revoked permanently: create another one")
}

/// The permissions on authd of these scopes, which a caller must have to create such a token.
fn permissions(scopes: &[String]) -> impl Iterator<Item = Permission> {
    scopes.iter().filter_map(|scope| model::permission_to_grant(scope))
}

/// Refuses to grant a permission on authd that the caller lacks.
fn check_held(caller: &Caller, scopes: &[String]) -> Result<()> {
    let is_lacked =
        |scope: &&String| model::permission_to_grant(scope).is_some_and(|permission| !caller.can(permission));
    let Some(lacked) = scopes.iter().find(is_lacked) else { return Ok(()) };
    Err(match model::service_of(lacked) {
        Some(_) => Error::new(Code::Forbidden, "this is a service's own token: it needs the permission access.write"),
        None => Error::new(Code::Forbidden, format!("you do not have {lacked} yourself")),
    })
}
