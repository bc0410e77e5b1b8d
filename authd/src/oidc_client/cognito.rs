//! `[cognito]`: AWS Cognito, as one provider.

use http::Uri;
use serde::{Deserialize, Serialize};
use shared::secret::{Secret, redacted};

use super::Config;
use crate::setting::Faults;

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

    /// The region, which every pool's id begins with.
    fn region(&self) -> &str {
        let of_pool = self.user_pool_id.split_once('_').map_or("", |(region, _)| region);
        if self.region.is_empty() { of_pool } else { &self.region }
    }

    /// Whether it can be converted to a provider.
    pub fn check(&self, faults: &mut Faults) -> bool {
        let before = faults.refused.len();
        for (value, name) in [
            (&self.domain, "cognito.domain (COGNITO_DOMAIN)"),
            (&self.client_id, "cognito.client_id (COGNITO_CLIENT_ID)"),
            (&self.user_pool_id, "cognito.user_pool_id (COGNITO_USER_POOL_ID)"),
        ] {
            if value.is_empty() {
                faults.refuse(format!("the provider cognito also needs {name}"));
            }
        }
        // Another issuer than AWS may number its pools as it likes.
        if !self.user_pool_id.is_empty() && self.issuer.is_empty() {
            self.check_pool(faults);
        }
        if !self.issuer.is_empty() {
            let name = "cognito.issuer (COGNITO_ISSUER)";
            faults.base_url(name, &self.issuer).into_iter().for_each(|uri| faults.private(name, &uri));
        }
        let name = "cognito.domain (COGNITO_DOMAIN)";
        if !self.domain.is_empty()
            && let Some(uri) = faults.base_url(name, &self.url())
        {
            faults.private(name, &uri);
            let host = uri.host().unwrap_or_default().to_ascii_lowercase();
            let region = host.strip_suffix(".amazoncognito.com").and_then(|host| host.rsplit('.').next());
            if let Some(region) = region.filter(|region| !self.region().is_empty() && *region != self.region()) {
                faults.refuse(format!("{name}: {host} is in {region}, and the user pool in {}", self.region()));
            }
        }
        faults.refused.len() == before
    }

    fn check_pool(&self, faults: &mut Faults) {
        let pool = &self.user_pool_id;
        let is_region = |text: &str| {
            let is_part = |part: &str| {
                !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            };
            text.split('-').count() >= 3 && text.split('-').all(is_part)
        };
        match pool.split_once('_') {
            Some((region, id))
                if is_region(region) && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                if !self.region.is_empty() && self.region != region {
                    faults.refuse(format!(
                        "cognito.region (COGNITO_REGION): {:?} is not the region of the pool {pool}; remove it",
                        self.region
                    ));
                }
            }
            _ => faults.refuse(format!(
                "cognito.user_pool_id (COGNITO_USER_POOL_ID): {pool:?} is not the id of a pool, which begins with its \
                 region, such as eu-central-1_Example01"
            )),
        }
    }

    /// The provider that the settings describe.
    pub fn into_provider(self) -> Config {
        let issuer = match self.issuer.as_str() {
            "" => format!("https://cognito-idp.{}.amazonaws.com/{}", self.region(), self.user_pool_id),
            issuer => issuer.trim_end_matches('/').to_owned(),
        };
        let domain = self.url();
        Config {
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
        }
    }

    /// Checks where Cognito sends the browser: it registers only https, and http to `localhost` by that name.
    pub fn check_redirect(redirect_uri: &Uri, issuer: &Uri, faults: &mut Faults) {
        let is_accepted = redirect_uri.scheme_str() == Some("https")
            || redirect_uri.host().is_some_and(|host| host.eq_ignore_ascii_case("localhost"));
        // One on this machine is not AWS.
        if !is_accepted && issuer.scheme_str() == Some("https") {
            faults.refuse(format!(
                "server.public_url (AUTHD_PUBLIC_URL) or COGNITO_REDIRECT_URI: Cognito refuses to send the browser to \
                 \"{redirect_uri}\": it accepts https, and http only to localhost, such as \
                 AUTHD_PUBLIC_URL=http://localhost:8080"
            ));
        }
    }
}
