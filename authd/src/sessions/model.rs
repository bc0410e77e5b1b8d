//! What a session is, whoever made it.

use serde::{Deserialize, Serialize};
use shared::id::SessionId;

use crate::env::{Millis, SECOND};
use crate::oidc_client::Identity;

/// A device session: one row.
#[derive(Clone, Debug)]
pub struct DeviceSession {
    pub id: SessionId,
    /// The last refresh token that the device has proved to have: see `cli_login::model::RefreshTokenUse`.
    pub generation: i64,
    pub created_at: Millis,
    pub idle_expires_at: Millis,
    pub absolute_expires_at: Millis,
    pub ended_at: Option<Millis>,
    pub provider: String,
    pub device_name: Option<String>,
    pub os: Option<String>,
    pub client_version: Option<String>,
    pub address: Option<String>,
    /// The provider's tokens, sealed for this row; gone once the session has ended.
    pub sealed: Option<Vec<u8>>,
    pub attributes: Attributes,
}

/// What else is known of a device session; no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attributes {
    pub identity: Identity,
    /// The role that the login ended in; renewals that name none stay with it.
    pub role: String,
    /// Until when credentials that were handed out work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_until: Option<Millis>,
}

impl DeviceSession {
    pub fn is_live(&self, now: Millis) -> bool {
        self.ended_at.is_none() && now < self.expires_at()
    }

    /// When it ends by itself, as things are.
    pub fn expires_at(&self) -> Millis {
        self.idle_expires_at.min(self.absolute_expires_at)
    }

    /// Until when credentials that were handed out may still work, if that is not past.
    pub fn credentials_until(&self, now: Millis) -> Option<Millis> {
        self.attributes.credentials_until.filter(|until| *until > now)
    }
}

/// Milliseconds as the API's epoch seconds, never later than they are.
pub fn seconds(millis: Millis) -> i64 {
    millis.div_euclid(SECOND)
}
