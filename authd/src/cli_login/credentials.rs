//! STS credentials, cached per device session and role while they are valid for long enough.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::id::SessionId;
use shared::secret::Secret;

use super::{CliLogin, roles, seal};
use crate::aws::{Credentials, Role};
use crate::env::{HOUR, MINUTE, Millis, SECOND, SKEW, is_ahead};
use crate::error::{Error, Result};
use crate::log::caused;
use crate::oidc_client::Identity;

/// Tools begin to renew fifteen minutes before expiry: credentials with less left would be requested repeatedly.
const ENOUGH: Millis = 20 * MINUTE;
/// auth-login does not use credentials with less left either.
const USELESS: Millis = 5 * SECOND;
/// The longest life of credentials of a role.
const LONGEST: Millis = 12 * HOUR;

/// The wanted credentials: session, role and duration.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub session: SessionId,
    pub role: &'a Role,
    pub duration_seconds: u32,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    credentials: Credentials,
    made_at: Millis,
}

impl Wanted<'_> {
    /// The cache key. It depends on every parameter of the call to AWS, so that a new configuration applies at once.
    fn key(&self) -> String {
        let role = self.role;
        let external_id = role.external_id.as_ref().map(Secret::expose);
        let asked = format!("{:?}", (&role.arn, role.method, role.session_tags, external_id, self.duration_seconds));
        let hash = Sha256::digest(asked);
        format!("sts:{}:{}", self.session, BASE64_URL_SAFE_NO_PAD.encode(&hash[..16]))
    }
}

impl CliLogin {
    /// The cached credentials, if they are valid for long enough.
    pub(super) async fn find_credentials(&self, wanted: Wanted<'_>) -> Result<Option<Credentials>> {
        let key = wanted.key();
        let sealed = self.base.ephemeral.get(&key).await.unwrap_or_else(|error| {
            // The cache is optional: AWS is called instead.
            caused!(None, warn, %error, "cached AWS credentials cannot be read");
            None
        });
        let Some(sealed) = sealed else { return Ok(None) };
        let Ok(opened) = self.base.keys.open(&key, &sealed) else { return Ok(None) };
        let kept: Kept = serde_json::from_slice(&opened).map_err(Error::internal)?;
        Ok(is_enough(kept.made_at, kept.credentials.expires_at, self.base.now()).then_some(kept.credentials))
    }

    /// Requests credentials from AWS, and caches them.
    pub(super) async fn make_credentials(
        &self,
        wanted: Wanted<'_>,
        provider: &str,
        identity: &Identity,
        id_token: Option<&Secret>,
    ) -> Result<Credentials> {
        let ambiguous = (self.all_providers().count() > 1).then_some(provider);
        let (session_name, tags) = (roles::session_name(identity, ambiguous), roles::session_tags(identity, provider));
        let Wanted { role, duration_seconds, .. } = wanted;
        let credentials = self.aws.assume(role, duration_seconds, &session_name, &tags, id_token).await?;
        let kept = Kept { credentials, made_at: self.base.now() };
        let key = wanted.key();
        let sealed = seal(&self.base.keys, &key, &kept)?;
        let ttl = (kept.credentials.expires_at - kept.made_at).max(1);
        // Credentials that cannot be cached are requested again next time.
        if let Err(error) = self.base.ephemeral.put(&key, &sealed, ttl).await {
            caused!(None, warn, %error, "AWS credentials could not be cached");
        }
        Ok(kept.credentials)
    }
}

/// Whether twenty minutes are left, or half of a lifetime below forty, and never too little time to use them. What was
/// made in the future, or is valid for longer than AWS allows, tells of a wrong clock.
fn is_enough(made_at: Millis, expires_at: Millis, now: Millis) -> bool {
    let is_sane = made_at <= now + SKEW && is_ahead(expires_at, now, LONGEST);
    is_sane && expires_at - now >= ENOUGH.min((expires_at - made_at) / 2).max(USELESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_handed_out_while_they_are_long_enough() {
        assert!(is_enough(0, HOUR, 40 * MINUTE));
        assert!(!is_enough(0, HOUR, 40 * MINUTE + 1));
        assert!(is_enough(0, 15 * MINUTE, 7 * MINUTE));
        assert!(!is_enough(0, 15 * MINUTE, 8 * MINUTE));
        assert!(!is_enough(0, HOUR, 2 * HOUR));
        assert!(!is_enough(0, 8 * SECOND, 3 * SECOND + 1));
        assert!(!is_enough(0, 13 * HOUR, 0), "no credentials are valid for so long");
        assert!(!is_enough(2 * MINUTE, HOUR, 0), "they were made in the future");
    }
}
