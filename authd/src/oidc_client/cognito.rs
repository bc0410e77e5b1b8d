//! `[cognito]`: AWS Cognito, as one provider.

use serde::{Deserialize, Serialize};
use shared::secret::{Secret, redacted};

use super::Config;

/// The settings of AWS Cognito, with the names of its console.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cognito {
    /// `NAME.auth.REGION.amazoncognito.com`, or a domain of your own.
    pub domain: String,
    pub client_id: String,
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// As registered with the app client. If empty, `/auth/cli/callback` below the public URL.
    pub redirect_uri: String,
    pub user_pool_id: String,
    /// If empty, the part before the `_` of the pool id.
    pub region: String,
    /// If empty, `https://cognito-idp.{region}.amazonaws.com/{pool}`.
    pub issuer: String,
}

impl Cognito {
    /// The base URL of its pages and endpoints.
    pub fn url(&self) -> String {
        let domain = self.domain.trim_end_matches('/');
        if domain.contains("://") { domain.to_owned() } else { format!("https://{domain}") }
    }

    /// Converts the settings to a provider; an error says what is missing.
    pub fn into_provider(self) -> Result<Config, String> {
        let needed = [
            (&self.domain, "COGNITO_DOMAIN"),
            (&self.client_id, "COGNITO_CLIENT_ID"),
            (&self.user_pool_id, "COGNITO_USER_POOL_ID"),
        ];
        if let Some((_, name)) = needed.into_iter().find(|(value, _)| value.is_empty()) {
            return Err(format!("the provider cognito also needs {name}"));
        }
        let region = match self.region.as_str() {
            "" => self.user_pool_id.split('_').next().unwrap_or_default(),
            region => region,
        };
        let issuer = match self.issuer.as_str() {
            "" => format!("https://cognito-idp.{region}.amazonaws.com/{}", self.user_pool_id),
            issuer => issuer.trim_end_matches('/').to_owned(),
        };
        let domain = self.url();
        Ok(Config {
            name: "cognito".into(),
            client_id: self.client_id,
            client_secret: self.client_secret,
            redirect_uri: self.redirect_uri,
            groups_claim: "cognito:groups".into(),
            authorization_endpoint: format!("{domain}/oauth2/authorize"),
            token_endpoint: format!("{domain}/oauth2/token"),
            jwks_uri: format!("{issuer}/.well-known/jwks.json"),
            require_token_use: true,
            issuer,
            ..Config::default()
        })
    }
}
