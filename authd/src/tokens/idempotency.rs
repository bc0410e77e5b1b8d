//! `Idempotency-Key`: a retry of a request that mints a secret gets the same answer.

use sha2::{Digest, Sha256};
use shared::id::TokenId;
use shared::problem::Code;
use shared::secret::Secret;

use super::Tokens;
use super::model::{self, RANDOM};
use super::store::{self, Used};
use crate::caller::Caller;
use crate::db::Statement;
use crate::env::{DAY, Millis};
use crate::error::{Error, Result};
use crate::keys::Purpose;

/// How long a retry with the same `Idempotency-Key` gets the same answer.
const LIFE: Millis = DAY;

/// A request that mints a secret, made repeatable by its `Idempotency-Key`: the secret is then derived from the key,
/// so that a retry gets the same one and nothing is stored in clear.
pub struct IdempotentRequest {
    action: &'static str,
    caller: String,
    /// The caller's key, with the hash that names it in the database and the hash of the request.
    key: Option<(String, [u8; 32])>,
    request: [u8; 32],
}

impl IdempotentRequest {
    pub fn new<Op: serde::Serialize>(
        caller: &Caller,
        action: &'static str,
        key: Option<&str>,
        op: &Op,
    ) -> Result<Self> {
        let caller = caller.to_string();
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
    pub async fn find(&self, tokens: &Tokens) -> Result<Option<Used>> {
        let Some((_, hash)) = &self.key else { return Ok(None) };
        let used = store::find_idempotency(tokens.base.db.as_ref(), hash, tokens.base.now()).await?;
        match used {
            Some(used) if used.request != self.request => {
                Err(Error::new(Code::IdempotencyKeyReused, "this Idempotency-Key was used for another request"))
            }
            used => Ok(used),
        }
    }

    /// A new secret, and what has to be remembered to make it again.
    pub fn secret(&self, tokens: &Tokens, token_id: TokenId, now: Millis) -> Result<(Secret, Option<Used>)> {
        let Some(_) = &self.key else {
            return Ok((model::mint(&tokens.config.prefix, &tokens.base.env.bytes()), None));
        };
        let (key_id, secret) = self.derive(tokens, None, &token_id.to_string(), now)?;
        Ok((secret, Some(Used { request: self.request.to_vec(), subject: token_id.to_string(), key_id, at: now })))
    }

    /// The secret of the first time.
    pub fn repeat(&self, tokens: &Tokens, used: &Used) -> Result<Secret> {
        self.derive(tokens, Some(&used.key_id), &used.subject, used.at).map(|(_, secret)| secret)
    }

    /// The same, of a token that was named: the name may belong to another one by now.
    pub fn repeat_for(&self, tokens: &Tokens, used: &Used, token_id: TokenId) -> Result<Secret> {
        if used.subject == token_id.to_string() { self.repeat(tokens, used) } else { Err(super::ops::revoked()) }
    }

    fn derive(&self, tokens: &Tokens, key_id: Option<&str>, token_id: &str, at: Millis) -> Result<(String, Secret)> {
        let key = self.key.as_ref().map(|(key, _)| key.as_str()).unwrap_or_default();
        let at = at.to_be_bytes();
        let parts: [&[u8]; 5] =
            [self.action.as_bytes(), self.caller.as_bytes(), key.as_bytes(), token_id.as_bytes(), &at];
        let (key_id, mac) = tokens.base.keys.mac(Purpose::Mint, key_id, &parts)?;
        let mut random = [0; RANDOM];
        random.copy_from_slice(&mac[..RANDOM]);
        Ok((key_id, model::mint(&tokens.config.prefix, &random)))
    }

    /// The statement that remembers the use of the key, if there is one.
    pub fn remember(&self, used: Option<&Used>, now: Millis) -> Option<Statement> {
        let ((_, hash), used) = (self.key.as_ref()?, used?);
        Some(store::insert_idempotency(hash, used, now + LIFE))
    }
}
