//! The hot path: hash the token, look in the cache, decide, answer.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use shared::api::tokens::{TokenFault, ValidateToken, Validation};
use shared::problem::Code;
use shared::time::Time;

use super::cache::Cached;
use super::model::{self, Grant, Refusal, TokenHash};
use super::usage::Mark;
use super::{INVALIDATION, Tokens, store};
use crate::app::{App, Ctx};
use crate::cache::clock;
use crate::caller::Caller;
use crate::db::{BoxFuture, Db};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::ledger::Subscriber;
use crate::registry::Reply;
use crate::world::Millis;

/// How long a validate waits for its turn to read the database.
const PATIENCE: Duration = Duration::from_secs(2);
/// What can be answered without the database: nearly everything. `None` is a token that is not in the cache.
pub(super) fn validate_cached(app: &App, op: &ValidateToken) -> Option<Reply> {
    let tokens = &app.tokens;
    let hash = match tokens.screen(op.token.expose()) {
        Screened::Refused => return Some(refuse(app, &Refusal::NotFound)),
        Screened::LookUp(hash) => hash,
    };
    let now = app.world.now();
    let cached = match tokens.cache.find(&hash, now) {
        Some(cached) => cached,
        None if tokens.cache.is_unknown(&hash) => return Some(refuse(app, &Refusal::NotFound)),
        None => return None,
    };
    Some(answer(app, op, &hash, &cached, now))
}

/// Reads the token from the database first.
pub(super) async fn validate(ctx: Ctx, op: ValidateToken) -> Result<Reply> {
    let hash = model::hash(op.token.expose());
    Ok(match ctx.app.tokens.load(&ctx.app, hash).await? {
        Some(cached) => answer(&ctx.app, &op, &hash, &cached, ctx.now()),
        None => refuse(&ctx.app, &Refusal::NotFound),
    })
}

fn answer(app: &App, op: &ValidateToken, hash: &TokenHash, cached: &Cached, now: Millis) -> Reply {
    tracing::debug!(service = op.service_name, action = op.action_name, token = %cached.grant.token_id, "validate");
    let required = op.required_scopes.as_deref().unwrap_or_default();
    match cached.grant.judge(now, required, op.client_ip) {
        Ok(()) => {
            app.tokens.mark(hash, cached, now);
            app.metrics.validations.valid();
            accept(&cached.grant)
        }
        Err(refusal) => refuse(app, &refusal),
    }
}

/// The JSON of a [`Validation`].
fn accept(grant: &Grant) -> Reply {
    let mut json = Json::new("{\"valid\":true", grant.scopes.json().len() + grant.name_json.len());
    json.member("scopes").raw(grant.scopes.json());
    json.member("token_id").id(grant.token_id);
    json.member("name").raw(&*grant.name_json);
    if grant.expires_at != Millis::MAX {
        json.member("expires_at").value(&Time::from_millis(grant.expires_at));
    }
    json.end()
}

fn refusal_json(refusal: &Refusal) -> Bytes {
    let validation = Validation {
        valid: false,
        scopes: Vec::new(),
        token_id: None,
        name: None,
        expires_at: None,
        error: Some(refusal.fault()),
        detail: Some(refusal.detail()),
    };
    // A struct of strings cannot fail to serialize.
    serde_json::to_vec(&validation).unwrap_or_default().into()
}

fn refuse(app: &App, refusal: &Refusal) -> Reply {
    static NOT_FOUND: LazyLock<Bytes> = LazyLock::new(|| refusal_json(&Refusal::NotFound));
    static REVOKED: LazyLock<Bytes> = LazyLock::new(|| refusal_json(&Refusal::Revoked));
    static EXPIRED: LazyLock<Bytes> = LazyLock::new(|| refusal_json(&Refusal::Expired));
    static ADDRESS: LazyLock<Bytes> = LazyLock::new(|| refusal_json(&Refusal::Address));
    app.metrics.validations.refused(refusal.fault());
    let body = match refusal {
        Refusal::NotFound => NOT_FOUND.clone(),
        Refusal::Revoked => REVOKED.clone(),
        Refusal::Expired => EXPIRED.clone(),
        Refusal::Address => ADDRESS.clone(),
        Refusal::Scopes(_) => refusal_json(refusal),
    };
    Reply { status: 200, body }
}

enum Screened {
    /// Its form shows that it is not a token of ours.
    Refused,
    LookUp(TokenHash),
}

/// A token that is stored, whatever it is good for: who asks judges [`Found::grant`] for each use.
#[derive(Debug)]
pub struct Found {
    hash: TokenHash,
    cached: Cached,
}

impl Found {
    pub fn grant(&self) -> &Grant {
        &self.cached.grant
    }
}

/// What is known of a token without the database.
#[derive(Debug)]
pub enum Known {
    Yes(Found),
    /// There is no such token.
    No,
    /// The database has to tell.
    Unread,
}

impl Tokens {
    /// What can be told of a token without the database.
    pub fn recall(&self, token: &str, now: Millis) -> Known {
        let Screened::LookUp(hash) = self.screen(token) else { return Known::No };
        match self.cache.find(&hash, now) {
            Some(cached) => Known::Yes(Found { hash, cached }),
            None if self.cache.is_unknown(&hash) => Known::No,
            None => Known::Unread,
        }
    }

    /// The token, from the cache or the database; `None`: there is none.
    pub async fn look_up(&self, app: &App, token: &str) -> Result<Option<Found>> {
        match self.recall(token, app.world.now()) {
            Known::Yes(found) => Ok(Some(found)),
            Known::No => Ok(None),
            Known::Unread => {
                let hash = model::hash(token);
                let cached = self.load(app, hash).await?;
                Ok(cached.map(|cached| Found { hash, cached }))
            }
        }
    }

    /// Notes that a token was used, for its `last_used_at`.
    pub fn mark_use(&self, found: &Found, now: Millis) {
        self.mark(&found.hash, &found.cached, now);
    }

    fn screen(&self, token: &str) -> Screened {
        let has_form = model::is_well_formed(&self.prefix, token);
        if has_form || (self.accept_unchecked && !token.is_empty() && token.len() <= model::MAX_TOKEN) {
            Screened::LookUp(model::hash(token))
        } else {
            Screened::Refused
        }
    }

    /// Who holds this token, for requests to authd itself.
    pub async fn authenticate(&self, app: &App, token: &str, address: Option<IpAddr>) -> Result<Caller> {
        let invalid = |refusal: Refusal| Error::new(Code::InvalidToken, refusal.detail());
        let Screened::LookUp(hash) = self.screen(token) else { return Err(invalid(Refusal::NotFound)) };
        let now = app.world.now();
        let cached = match self.cache.find(&hash, now) {
            Some(cached) => cached,
            None => self.load(app, hash).await?.ok_or_else(|| invalid(Refusal::NotFound))?,
        };
        let grant = &cached.grant;
        grant.judge(now, &[], address).map_err(invalid)?;
        self.mark(&hash, &cached, now);
        let id = shared::id::TokenId(grant.token_id);
        Ok(match grant.scopes.service {
            Some(service) => Caller::Service { token: id, hash, service },
            None => Caller::Token { id, hash, permissions: grant.scopes.permissions },
        })
    }

    /// The token from the database, or from the cache when somebody else has just read it. Unknown tokens cost one
    /// indexed read, and no flood of them can take all the readers.
    async fn load(&self, app: &App, hash: TokenHash) -> Result<Option<Cached>> {
        let busy = || Error::unavailable("too many tokens are being looked up; try again", "no turn to read in time");
        let lane = &self.lanes[usize::from(hash[1]) % self.lanes.len()];
        let turn = async { (lane.lock().await, self.reads.acquire().await) };
        let _turn = tokio::time::timeout(PATIENCE, turn).await.map_err(|_| busy())?;
        if let Some(cached) = self.cache.find(&hash, app.world.now()) {
            return Ok(Some(cached));
        }
        if self.cache.is_unknown(&hash) {
            return Ok(None);
        }
        let stamp = self.cache.stamp(&hash);
        let read_at = clock(app.world.now());
        let secret = store::find_secret(app.db.as_ref(), &hash).await?;
        let cached = secret.map(|secret| self.cached(secret, read_at)).transpose()?;
        self.cache.refill(stamp, hash, cached.as_ref());
        Ok(cached)
    }

    fn cached(&self, secret: store::Secret, read_at: u32) -> Result<Cached> {
        let grant = Grant {
            token_id: secret.token_id,
            scopes: self.cache.shelf.scopes(&secret.scopes)?,
            name_json: serde_json::Value::String(secret.name).to_string().into_boxed_str(),
            expires_at: secret.expires_at.unwrap_or(Millis::MAX),
            revoked: secret.revoked,
            cidrs: secret.cidrs.into_boxed_slice(),
        };
        Ok(Cached { grant, marked: 0, read_at })
    }

    /// Queues the mark of a use, once a minute per token. A full queue drops it: the next use tries again.
    fn mark(&self, hash: &TokenHash, cached: &Cached, now: Millis) {
        let minute = u32::try_from(now / 1000 / i64::try_from(self.mark_seconds).unwrap_or(60)).unwrap_or_default();
        if cached.marked != minute && self.marks.capacity() > 0 && self.cache.shelf.claim(hash, minute) {
            let _ = self.marks.try_send(Mark { token_id: cached.grant.token_id, at: now });
        }
    }
}

impl Subscriber for Tokens {
    fn kind(&self) -> &'static str {
        INVALIDATION
    }

    /// Forgets every secret of a token. When it cannot be learnt which those are, forgets everything.
    fn forget<'a>(&'a self, db: &'a dyn Db, _: Millis, subject: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Ok(token_id) = subject.parse() else { return self.cache.forget_all() };
            match store::list_hashes(db, token_id).await {
                Ok(hashes) => hashes.iter().for_each(|hash| self.cache.forget(hash)),
                Err(_) => self.cache.forget_all(),
            }
        })
    }

    fn forget_all(&self) {
        self.cache.forget_all();
    }
}

/// For [`crate::metrics`]: every outcome has its counter.
pub(crate) const FAULTS: [TokenFault; 5] = [
    TokenFault::TokenNotFound,
    TokenFault::TokenRevoked,
    TokenFault::TokenExpired,
    TokenFault::InsufficientScopes,
    TokenFault::AddressNotAllowed,
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::model::Scopes;
    use super::*;

    #[test]
    fn the_answer_written_by_hand_is_the_struct() {
        for (end, expires_at) in [(Millis::MAX, None), (1_800_000_000_123, Some(Time::from_millis(1_800_000_000_123)))]
        {
            let grant = Grant {
                token_id: uuid::Uuid::from_u128(7),
                scopes: Arc::new(Scopes::from_json("[\"read\",\"a:b\"]").unwrap()),
                name_json: serde_json::Value::String("a \"quoted\" ü".into()).to_string().into(),
                expires_at: end,
                revoked: false,
                cidrs: Box::default(),
            };
            let validation = Validation {
                valid: true,
                scopes: vec!["read".into(), "a:b".into()],
                token_id: Some(shared::id::TokenId(grant.token_id)),
                name: Some("a \"quoted\" ü".into()),
                expires_at,
                error: None,
                detail: None,
            };
            assert_eq!(accept(&grant).body, serde_json::to_vec(&validation).unwrap());
        }
    }
}
