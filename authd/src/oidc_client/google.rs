//! Google, by the names of its settings.

use serde::{Deserialize, Serialize};
use shared::secret::{Secret, redacted};

use super::Config;
use crate::setting::Faults;

/// `[google]`: sign-in with Google in the browser.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Google {
    pub client_id: String,
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// If empty, `https://accounts.google.com`.
    pub issuer: String,
}

impl Google {
    /// Whether it can be converted to a provider.
    pub fn check(&self, faults: &mut Faults) -> bool {
        let before = faults.refused.len();
        if self.client_id.is_empty() {
            faults.refuse("the provider google also needs google.client_id (GOOGLE_OAUTH_CLIENT_ID)");
        }
        if self.client_secret.as_ref().is_none_or(Secret::is_empty) {
            faults.refuse("the provider google also needs google.client_secret (GOOGLE_OAUTH_CLIENT_SECRET)");
        }
        faults.refused.len() == before
    }

    /// The provider that the settings describe. Google verifies the addresses that it calls verified.
    pub fn into_provider(self) -> Config {
        let issuer = if self.issuer.is_empty() { "https://accounts.google.com".to_owned() } else { self.issuer };
        Config {
            name: "google".into(),
            issuer,
            client_id: self.client_id,
            client_secret: self.client_secret,
            web: true,
            trust_email: true,
            ..Config::default()
        }
    }
}
