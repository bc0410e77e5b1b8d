//! Second factors: TOTP (RFC 6238), recovery codes, and re-authentication.
//!
//! Invariants: a secret is stored sealed and a recovery code hashed; a code is accepted once, by a statement in the batch
//! of what it allows, so on every node and of any number of concurrent uses one; password and code are one counted
//! attempt; a factor that is not confirmed counts for nothing; turning one on or off takes the password, and a code if
//! one is on, and ends the person's other sessions.

mod model;
mod ops;
mod reset;
mod step_up;
pub(crate) mod store;

pub(super) use self::step_up::{Presented, Second, totp_required};

pub use self::store::SWEEP as SWEEP_PENDING;

/// The name that an authenticator app shows for this authd: the host of its public URL. It may not contain a colon, which
/// ends it in the URI.
fn issuer(public_url: &str) -> String {
    let host = shared::url::parse(public_url).ok().and_then(|url| url.host().map(str::to_owned));
    host.filter(|host| !host.contains(':')).unwrap_or_else(|| "authd".to_owned())
}

#[cfg(test)]
pub(crate) mod testing {
    //! TOTP with a known secret.

    use shared::id::UserId;

    use super::{model, store};
    use crate::base::Base;
    use crate::db::Batch;
    use crate::env::Millis;

    const SECRET: [u8; 20] = *b"12345678901234567890";

    /// The code of this many steps from now.
    pub fn code(base: &Base, steps: i64) -> String {
        code_of(&SECRET, base, steps)
    }

    pub fn code_of(secret: &[u8], base: &Base, steps: i64) -> String {
        model::code(secret, model::step(base.now()) + steps)
    }

    /// The code of a secret in base32, as an app has it.
    pub fn code_in_app(secret: &str, now: Millis) -> String {
        model::code(&decode(secret), model::step(now))
    }

    /// The bytes of base32.
    pub fn decode(text: &str) -> Vec<u8> {
        let bits: String =
            text.bytes().map(|c| if c < b'A' { c - b'2' + 26 } else { c - b'A' }).map(|n| format!("{n:05b}")).collect();
        bits.as_bytes()
            .chunks_exact(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    }

    /// A pending TOTP; with `is_on` confirmed by an old code.
    pub async fn insert(base: &Base, user: UserId, is_on: bool) {
        let id = base.env.uuid();
        let sealed = base.keys.seal(&store::context(id), &SECRET).unwrap();
        let mut batch: Batch = store::insert_pending(id, user, sealed, base.now(), base.now() + model::PENDING).into();
        batch.extend(is_on.then(|| store::confirm(id, 0, base.now())));
        base.db.commit(batch).await.unwrap();
    }
}
