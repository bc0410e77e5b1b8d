//! The hot path: hash the token, look it up in the cache, decide, answer.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use shared::api::tokens::{TokenFault, ValidateToken};
use shared::id::TokenId;
use shared::time::Time;

use super::model::{self, CachedToken, Refusal};
use super::{Tokens, store};
use crate::cache::{Cached, Hash};
use crate::call::Call;
use crate::caller::Caller;
use crate::db::{BoxFuture, Db};
use crate::env::{Millis, SECOND};
use crate::error::Result;
use crate::ledger::{Subscriber, TOKEN};
use crate::metrics::{Count, Metrics};

/// A stored token, valid or not: the caller checks it for each use.
pub type Found = Cached<CachedToken>;

/// The result of a look-up without the database.
#[derive(Debug)]
pub enum Recalled {
    Found(Found),
    /// There is no such token.
    NotFound,
    /// The database has to be read.
    Unread,
}

/// The answer to [`ValidateToken`]: the JSON of a [`shared::api::tokens::Validation`].
#[derive(Debug)]
pub enum ValidationView {
    Valid(Found),
    Refused(Refusal),
}

impl Serialize for ValidationView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Good<'a> {
            valid: bool,
            scopes: &'a RawValue,
            token_id: TokenId,
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            expires_at: Option<Time>,
        }
        #[derive(Serialize)]
        struct Refused {
            valid: bool,
            scopes: [&'static str; 0],
            error: TokenFault,
            detail: Cow<'static, str>,
        }
        match self {
            Self::Valid(token) => Good {
                valid: true,
                scopes: &token.scopes.json,
                token_id: token.token_id,
                name: &token.name,
                expires_at: token.expires_at().map(Time::from_millis),
            }
            .serialize(serializer),
            Self::Refused(refusal) => {
                Refused { valid: false, scopes: [], error: refusal.fault(), detail: refusal.detail() }
                    .serialize(serializer)
            }
        }
    }
}

#[derive(Debug)]
pub struct Validations {
    valid: Count,
    refused: [Count; OUTCOMES.len() - 1],
    uses_dropped: Count,
}

/// `valid`, then the faults in the order of [`TokenFault`].
const OUTCOMES: [&str; 6] =
    ["valid", "token_not_found", "token_revoked", "token_expired", "insufficient_scopes", "address_not_allowed"];

impl Validations {
    pub fn new(metrics: &mut Metrics) -> Self {
        let [valid, refused @ ..] = metrics.outcomes("token_validations", "Validated tokens by outcome", OUTCOMES);
        let uses_dropped = metrics.count("last_uses_dropped", "Uses of tokens that were not recorded: too many waited");
        Self { valid, refused, uses_dropped }
    }
}

impl Tokens {
    /// The answer without the database, which is the usual case. `None` if the token is not in the cache.
    pub(super) fn validate_now(&self, _: &Call, op: &ValidateToken) -> Option<Result<ValidationView>> {
        let now = self.base.now();
        Some(Ok(match self.recall(op.token.expose(), now) {
            Recalled::Found(token) => self.judge(op, token, now),
            Recalled::NotFound => self.refuse(Refusal::NotFound),
            Recalled::Unread => return None,
        }))
    }

    /// Reads the token from the database first.
    pub(super) async fn validate(&self, _: Call, op: ValidateToken) -> Result<ValidationView> {
        Ok(match self.find(op.token.expose()).await? {
            Some(token) => self.judge(&op, token, self.base.now()),
            None => self.refuse(Refusal::NotFound),
        })
    }

    fn judge(&self, op: &ValidateToken, token: Found, now: Millis) -> ValidationView {
        tracing::debug!(service = op.service_name, action = op.action_name, token = %token.token_id, "validate");
        match token.judge(now, op.required_scopes.as_deref().unwrap_or_default(), op.client_ip) {
            Ok(()) => {
                self.mark_used(&token, now);
                self.validations.valid.inc();
                ValidationView::Valid(token)
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn refuse(&self, refusal: Refusal) -> ValidationView {
        self.validations.refused[refusal.fault() as usize].inc();
        ValidationView::Refused(refusal)
    }

    /// The hash to look up; `None` for a text that cannot be a token of authd.
    fn screen(&self, token: &str) -> Option<Hash> {
        let has_form = model::is_well_formed(&self.config.prefix, token);
        let may_be = has_form || (self.config.accept_unchecked && !token.is_empty() && token.len() <= model::MAX_TOKEN);
        may_be.then(|| model::hash(token))
    }

    /// Looks a token up without the database.
    pub fn recall(&self, token: &str, now: Millis) -> Recalled {
        let Some(hash) = self.screen(token) else { return Recalled::NotFound };
        match self.cache.find(&hash, now) {
            Some(found) => Recalled::Found(found),
            None if self.cache.is_unknown(&hash) => Recalled::NotFound,
            None => Recalled::Unread,
        }
    }

    /// The token, from the cache or the database. An unknown one costs one indexed read.
    pub async fn find(&self, token: &str) -> Result<Option<Found>> {
        let Some(hash) = self.screen(token) else { return Ok(None) };
        self.cache.get_or_read(hash, &self.base.env, self.read(&hash)).await
    }

    async fn read(&self, hash: &Hash) -> Result<Option<CachedToken>> {
        let stamp = self.cache.stamp(hash, self.base.now());
        let found = store::find_secret(self.base.db.as_ref(), &self.scope_sets, hash).await?;
        if found.is_none() {
            self.cache.refill_unknown(stamp, *hash);
        }
        Ok(found)
    }

    /// A token that is valid from this address and that `admit` accepts, with its hash. The use is recorded.
    pub async fn accept(
        &self,
        token: &str,
        address: Option<IpAddr>,
        admit: impl FnOnce(&CachedToken) -> Result<()>,
    ) -> Result<(Hash, Found)> {
        let hash = self.screen(token).ok_or(Refusal::NotFound)?;
        let found = self.cache.get_or_read(hash, &self.base.env, self.read(&hash)).await?;
        let found = found.ok_or(Refusal::NotFound)?;
        let now = self.base.now();
        found.judge(now, &[], address)?;
        admit(&found)?;
        self.mark_used(&found, now);
        Ok((hash, found))
    }

    /// The caller of this token, for requests to authd itself.
    pub async fn authenticate(&self, token: &str, address: Option<IpAddr>) -> Result<Caller> {
        let (hash, found) = self.accept(token, address, |_| Ok(())).await?;
        let id = found.token_id;
        Ok(match found.scopes.service {
            Some(service) => Caller::Service { token: id, hash, service },
            None => Caller::Token { id, hash, permissions: found.scopes.permissions },
        })
    }

    /// Queues the use of a token, at most once per period. A full queue drops and counts it; the next use tries again.
    pub fn mark_used(&self, token: &CachedToken, now: Millis) {
        let every = i64::try_from(self.config.last_used_seconds.max(1)).unwrap_or(60) * SECOND;
        let period = u32::try_from(now / every).unwrap_or_default();
        if token.marked.load(Ordering::Relaxed) == period {
            return;
        }
        let is_full = self.uses.capacity() == 0
            || (token.marked.swap(period, Ordering::Relaxed) != period
                && self.uses.try_send((token.token_id, now)).is_err());
        if is_full {
            self.validations.uses_dropped.inc();
        }
    }
}

impl Subscriber for Tokens {
    fn kind(&self) -> &'static str {
        TOKEN
    }

    /// Removes every secret of a token from the cache; all secrets if the token's cannot be read.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_counter() {
        for (place, name) in OUTCOMES[1..].iter().enumerate() {
            let fault: TokenFault = serde_json::from_value((*name).into()).unwrap();
            assert_eq!(fault as usize, place, "{name}");
        }
    }
}
