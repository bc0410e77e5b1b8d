//! The types of sessions.

use serde::{Deserialize, Serialize};
use shared::id::{SessionId, UserId};

use crate::env::{MINUTE, Millis, SECOND, SKEW, is_ahead};
use crate::oidc_client::Identity;

/// How long a proof of all factors is fresh.
pub const FRESH: Millis = 5 * MINUTE;

/// Whether all factors were proven a short time ago; a proof in the future is that of a wrong clock.
pub fn is_fresh(factor_at: Option<Millis>, now: Millis) -> bool {
    factor_at.is_some_and(|at| is_ahead(at + FRESH, now, FRESH))
}

/// A device session: one row.
#[derive(Clone, Debug)]
pub struct DeviceSession {
    pub id: SessionId,
    /// Whose session it is, if authd itself was the provider.
    pub user: Option<UserId>,
    /// The generation of the last acknowledged refresh token: see `cli_login::model::RefreshTokenUse`.
    pub generation: i64,
    pub created_at: Millis,
    pub idle_expires_at: Millis,
    pub absolute_expires_at: Millis,
    pub ended_at: Option<Millis>,
    /// Why it has ended.
    pub end_reason: Option<String>,
    pub provider: String,
    pub device_name: Option<String>,
    pub os: Option<String>,
    pub client_version: Option<String>,
    pub address: Option<String>,
    /// The provider's tokens, sealed for this row; absent after the session has ended.
    pub sealed: Option<Vec<u8>>,
    pub attributes: Attributes,
    /// When it was created or its refresh token was last used; the idle end was counted from then.
    pub last_used_at: Millis,
}

/// Other data of a device session; no secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attributes {
    pub identity: Identity,
    /// The role of the login; the default of renewals.
    pub role: String,
    /// Until when issued credentials are valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_until: Option<Millis>,
}

/// Other data of a login session.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LoginAttributes {
    /// Whether the person had a permission of authd at sign-in.
    #[serde(default)]
    pub operator: bool,
}

impl DeviceSession {
    pub fn is_live(&self, now: Millis) -> bool {
        // One that was used in the future has an end that a wrong clock has set.
        self.ended_at.is_none() && now < self.expires_at() && self.last_used_at <= now + SKEW
    }

    /// When it expires unless it is renewed.
    pub fn expires_at(&self) -> Millis {
        self.idle_expires_at.min(self.absolute_expires_at)
    }

    /// Until when issued credentials may still work, if that is in the future.
    pub fn credentials_until(&self, now: Millis) -> Option<Millis> {
        self.attributes.credentials_until.filter(|until| *until > now)
    }
}

/// Milliseconds as the API's epoch seconds, rounded down.
pub fn seconds(millis: Millis) -> i64 {
    millis.div_euclid(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_fresh_for_five_minutes_and_not_before_it_was_made() {
        let now = 1_800_000_000_000;
        for (age, fresh) in [(0, true), (FRESH - 1, true), (FRESH, false), (-SKEW, true), (-SKEW - 1, false)] {
            assert_eq!(is_fresh(Some(now - age), now), fresh, "{age}");
        }
        assert!(!is_fresh(None, now));
    }
}
