//! `Idempotency-Key`: a retry of a request that creates a secret gets the same answer.

use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::api::tokens::MAX_KEY;
use shared::id::TokenId;
use shared::problem::Code;
use shared::secret::Secret;

use super::Tokens;
use super::model::{self, RANDOM};
use super::store::{self, Used};
use crate::caller::Caller;
use crate::db::Statement;
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::keys::Purpose;

/// A request that creates a secret, made repeatable by its `Idempotency-Key`: the secret is derived from the key, so
/// that a retry gets the same one and nothing is stored in clear.
pub struct IdempotentRequest {
    action: &'static str,
    caller: String,
    key: Option<Key>,
}

/// A caller's `Idempotency-Key`.
struct Key {
    text: String,
    /// Its key in the database, for one action and one caller.
    hash: [u8; 32],
    /// SHA-256 of the request, compared with that of the first use.
    request: [u8; 32],
}

impl IdempotentRequest {
    pub fn new(caller: &Caller, action: &'static str, key: Option<&str>, op: &impl Serialize) -> Result<Self> {
        let caller = caller.to_string();
        let Some(text) = key else { return Ok(Self { action, caller, key: None }) };
        if text.is_empty() || text.len() > MAX_KEY || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::field("idempotency_key", format!("expected 1 to {MAX_KEY} visible ASCII characters")));
        }
        let mut hash = Sha256::new();
        for part in [action, &caller, text] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let request = Sha256::digest(serde_json::to_vec(op).map_err(Error::internal)?);
        let key = Key { text: text.to_owned(), hash: hash.finalize().into(), request: request.into() };
        Ok(Self { action, caller, key: Some(key) })
    }

    /// A new secret, and the record to derive it again.
    pub fn secret(&self, tokens: &Tokens, token_id: TokenId, now: Millis) -> Result<(Secret, Option<Used>)> {
        let Some(key) = &self.key else {
            return Ok((model::mint(&tokens.config.prefix, &tokens.base.env.bytes()), None));
        };
        let (key_id, secret) = self.derive(tokens, None, token_id, now)?;
        Ok((secret, Some(Used { request: key.request, token_id, key_id, at: now })))
    }

    /// The statement that records the use of the key, if there is one.
    pub fn remember(&self, used: Option<&Used>) -> Option<Statement> {
        let (key, used) = (self.key.as_ref()?, used?);
        Some(store::insert_idempotency(&key.hash, used))
    }

    /// The earlier use of the key, if there is one.
    pub async fn find(&self, tokens: &Tokens) -> Result<Option<Used>> {
        let Some(key) = &self.key else { return Ok(None) };
        let used = store::find_idempotency(tokens.base.db.as_ref(), &key.hash, tokens.base.now()).await?;
        if used.as_ref().is_some_and(|used| used.request != key.request) {
            let detail = "this Idempotency-Key was used for another request";
            return Err(Error::new(Code::IdempotencyKeyReused, detail));
        }
        Ok(used)
    }

    /// The earlier use of the key, after [`IdempotentRequest::remember`] has failed.
    pub async fn first_use(&self, tokens: &Tokens) -> Result<Used> {
        self.find(tokens).await?.ok_or_else(|| {
            let detail = "the record of this Idempotency-Key has just expired; try again";
            Error::new(Code::Conflict, detail).retry_after(1)
        })
    }

    /// The secret of the first use, if that was for this token: its name may now belong to another one.
    pub fn repeat(&self, tokens: &Tokens, used: &Used, token_id: TokenId) -> Result<Secret> {
        if used.token_id != token_id {
            return Err(super::ops::revoked());
        }
        self.derive(tokens, Some(&used.key_id), token_id, used.at).map(|(_, secret)| secret)
    }

    fn derive(&self, tokens: &Tokens, key_id: Option<&str>, token_id: TokenId, at: Millis) -> Result<(String, Secret)> {
        let key = self.key.as_ref().map_or("", |key| &key.text);
        let (token_id, at) = (token_id.to_string(), at.to_be_bytes());
        let parts: [&[u8]; 5] =
            [self.action.as_bytes(), self.caller.as_bytes(), key.as_bytes(), token_id.as_bytes(), &at];
        let (key_id, mac) = tokens.base.keys.mac(Purpose::Mint, key_id, &parts)?;
        let mut random = [0; RANDOM];
        random.copy_from_slice(&mac[..RANDOM]);
        Ok((key_id, model::mint(&tokens.config.prefix, &random)))
    }
}
