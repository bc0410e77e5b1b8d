//! The client of an OpenID provider: sign-in and tokens. No other module uses OAuth.
//!
//! Not a library: the flow has four requests, and the libraries for it would add a second HTTP client and a second
//! cryptography library.

mod cognito;
mod discovery;
mod google;
mod http;
pub mod id_token;
pub mod keys;
mod published;
mod refusal;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::problem::Code;
use shared::secret::{Secret, redacted};
use shared::wire::encode_pairs;

pub use self::cognito::Cognito;
use self::discovery::Endpoints;
pub use self::google::Google;
use self::http::Credentials;
pub use self::http::Http;
pub use self::id_token::Identity;
use self::keys::Keys;
use self::published::Published;
pub use self::refusal::Refusal;
use crate::env::Millis;
use crate::error::Error;
use crate::log::caused;
use crate::setting::Faults;

/// `[[provider]]`: an OpenID provider that people sign in with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name of the provider in logins.
    pub name: String,
    /// Its `iss`, exactly; discovery is at `{issuer}/.well-known/openid-configuration`.
    pub issuer: String,
    pub client_id: String,
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// As registered at the provider. If empty, `/auth/cli/callback` below the public URL.
    pub redirect_uri: String,
    /// If empty, `openid email profile`.
    pub scopes: Vec<String>,
    /// The claim that lists the person's groups; if empty, `groups`.
    pub groups_claim: String,
    /// Endpoints, to use instead of discovery.
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    /// The ID token must have `token_use=id`, as with Cognito.
    pub require_token_use: bool,
    /// Whether people sign in with it in the browser: `/auth/{name}/callback` below the public URL must be registered there
    /// too.
    pub web: bool,
    /// Whether an address that it calls verified is enough to be the account with that verified address.
    pub trust_email: bool,
    /// Whether signing out here ends the person's session there too, where it has an `end_session_endpoint`.
    pub end_session: bool,
}

impl Config {
    /// Checks the provider, whose settings are complete.
    pub fn check(&self, faults: &mut Faults) {
        let name = format!("provider {}", self.name);
        if self.client_id.is_empty() {
            faults.refuse(format!("{name}: client_id is missing"));
        }
        let issuer_name = format!("{name}: issuer");
        let issuer = faults.base_url(&issuer_name, &self.issuer);
        issuer.iter().for_each(|uri| faults.private(&issuer_name, uri));
        for (key, endpoint) in [
            ("authorization_endpoint", &self.authorization_endpoint),
            ("token_endpoint", &self.token_endpoint),
            ("jwks_uri", &self.jwks_uri),
        ] {
            let name = format!("{name}: {key}");
            if !endpoint.is_empty() {
                faults.url(&name, endpoint).into_iter().for_each(|uri| faults.private(&name, &uri));
            }
        }
        let Some(redirect_uri) = faults.url(&format!("{name}: redirect_uri"), &self.redirect_uri) else { return };
        if self.require_token_use
            && let Some(issuer) = issuer
        {
            Cognito::check_redirect(&redirect_uri, &issuer, faults);
        } else if !shared::url::is_private(&redirect_uri) {
            faults.warn(format!(
                "{name}: redirect_uri: \"{redirect_uri}\" passes sign-ins over an unencrypted network; set AUTHD_PUBLIC_URL to \
                 the https address"
            ));
        }
    }
}

/// The largest token that is accepted from a provider, in bytes.
const MAX_TOKEN: usize = 32 << 10;
/// How long ago, in seconds, a person may have signed in who says anew who they are.
const MAX_AGE: &str = "300";

/// Why a request to a provider failed.
#[derive(Clone, Debug)]
pub enum ProviderError {
    /// No connection, no answer in time, or a failure of the provider. A retry may succeed. The text is for the
    /// log.
    Unavailable(String),
    /// The provider refused, with an error of OAuth (RFC 6749 §5.2).
    Refused(Refusal),
    /// The answer is unusable; the text is authd's and safe to show.
    Unusable(String),
}

impl ProviderError {
    /// The error for the caller.
    pub fn explain(self, provider: &str) -> Error {
        match self {
            Self::Unavailable(reason) => {
                Error::unavailable(format!("the identity provider {provider} does not answer; try again"), reason)
                    .retry_after(5)
            }
            Self::Refused(refusal) => {
                let hint = match refusal.code.as_str() {
                    "invalid_client" | "unauthorized_client" => {
                        ": client_id, client_secret and the client's allowed flows must be as registered there"
                    }
                    "invalid_grant" => ": the code was used, or too old; start again",
                    _ => "",
                };
                let detail = format!("the identity provider {provider} refused with {refusal}{hint}");
                Error::new(Code::UpstreamFailed, detail)
            }
            Self::Unusable(reason) => {
                Error::new(Code::UpstreamFailed, format!("the identity provider {provider} cannot be used: {reason}"))
            }
        }
    }
}

/// The parameters with which the provider redirected the browser (RFC 6749 §4.1.2).
#[derive(Clone, Debug)]
pub struct Answer {
    pub state: String,
    /// The code, or the error.
    pub result: Result<Secret, Refusal>,
    /// The provider's issuer, if it sends it (RFC 9207).
    pub issuer: Option<String>,
}

/// The provider's tokens of a person who signed in. They are stored sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProviderTokens {
    /// The signed token, for STS.
    pub id_token: Secret,
    pub id_expires_at: Millis,
    /// Absent if the provider issues none, or does not rotate it.
    pub refresh_token: Option<Secret>,
}

/// A configured provider with its cached endpoints and keys.
#[derive(Debug)]
pub struct Client {
    pub config: Config,
    http: Arc<Http>,
    endpoints: Published<Endpoints>,
    keys: Keys,
}

/// Clients of these providers.
pub fn clients(configs: Vec<Config>) -> Vec<Arc<Client>> {
    let http = Arc::new(Http::default());
    configs.into_iter().map(|config| Arc::new(Client::new(config, http.clone()))).collect()
}

impl Client {
    fn new(config: Config, http: Arc<Http>) -> Self {
        Self { config, http, endpoints: Published::default(), keys: Keys::default() }
    }

    async fn endpoints(&self) -> Result<Arc<Endpoints>, ProviderError> {
        self.endpoints.find(None, discovery::endpoints(&self.http, &self.config)).await
    }

    /// The `prompt` by which the person says anew who they are (OpenID Connect Core §3.1.2.1); Google has no `login`.
    pub fn prompt(&self) -> &'static str {
        if self.config.issuer == "https://accounts.google.com" { "select_account" } else { "login" }
    }

    /// Whether the provider says when somebody has signed in, if it is asked.
    pub fn tells_when(&self) -> bool {
        self.prompt() == "login"
    }

    /// The URL where the person signs in, and from where the browser returns to `redirect_uri`.
    pub async fn authorize_url(
        &self,
        redirect_uri: &str,
        state: &str,
        nonce: &str,
        verifier: &Secret,
        prompt: Option<&str>,
    ) -> Result<String, ProviderError> {
        // RFC 7636 §4.2.
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()));
        let endpoints = self.endpoints().await?;
        let scope = self.config.scopes.join(" ");
        let query = [
            ("response_type", "code"),
            ("client_id", &self.config.client_id),
            ("redirect_uri", redirect_uri),
            ("scope", &scope),
            ("state", state),
            ("nonce", nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        // With a limit the provider has to say when they signed in (OpenID Connect Core §2, `auth_time`).
        let max_age = prompt.filter(|_| self.tells_when()).map(|_| ("max_age", MAX_AGE));
        let query = query.into_iter().chain(prompt.map(|prompt| ("prompt", prompt))).chain(max_age);
        Ok(with_query(&endpoints.authorization_endpoint, &encode_pairs(query)))
    }

    /// Where the browser's own session with Cognito ends, and from where it returns to `return_to`, which has to be an
    /// allowed sign-out URL there (Cognito, logout endpoint). `None` for another provider, which asks by [`Self::prompt`].
    pub fn sign_out_url(&self, return_to: &str) -> Option<String> {
        let domain = self.config.authorization_endpoint.strip_suffix("/oauth2/authorize")?;
        let query = [("client_id", self.config.client_id.as_str()), ("logout_uri", return_to)];
        self.config.require_token_use.then(|| with_query(&format!("{domain}/logout"), &encode_pairs(query)))
    }

    /// Ensures that the provider is reachable and its tokens can be verified, before a code is used.
    pub async fn ready(&self) -> Result<(), ProviderError> {
        let endpoints = self.endpoints().await?;
        self.keys.ready(&self.http, &endpoints.jwks_uri).await
    }

    /// Exchanges the code from the browser for tokens.
    pub async fn exchange(
        &self,
        redirect_uri: &str,
        code: &Secret,
        verifier: &Secret,
        nonce: &Secret,
        now: Millis,
    ) -> Result<(Identity, ProviderTokens), ProviderError> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier.expose()),
        ];
        let given = self.token(&fields).await?;
        let Some(id_token) = given.id_token else {
            return Err(ProviderError::Unusable("it issued no ID token; the scope openid must be allowed".into()));
        };
        // The code is used: loading the same page again cannot succeed.
        let verified = self.verify(&id_token, Some(nonce.expose()), now).await.map_err(|error| match error {
            ProviderError::Unavailable(source) => {
                caused!(None, warn, provider = self.config.name, source, "an ID token could not be verified");
                ProviderError::Unusable("the keys to verify its ID token could not be fetched".into())
            }
            error => error,
        });
        let (identity, id_expires_at) = verified?;
        Ok((identity, ProviderTokens { id_token, id_expires_at, refresh_token: given.refresh_token }))
    }

    /// Fresh tokens of somebody who signed in before. What the provider rotated must be kept even if its ID token
    /// turns out to be unusable: that is why the two steps are apart.
    pub async fn refresh(&self, refresh_token: &Secret) -> Result<TokenResponse, ProviderError> {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())]).await
    }

    /// Verifies an ID token; returns the identity and the expiry. `nonce` is given only right after a sign-in.
    pub async fn verify(
        &self,
        id_token: &Secret,
        nonce: Option<&str>,
        now: Millis,
    ) -> Result<(Identity, Millis), ProviderError> {
        let endpoints = self.endpoints().await?;
        let claims = self.keys.verify(&self.http, &endpoints.jwks_uri, id_token.expose()).await?;
        let verified = id_token::check(&self.config, &claims, nonce, now)
            .map_err(|reason| ProviderError::Unusable(format!("its ID token is not usable: {reason}")))?;
        if let Some(fault) = &verified.0.groups_fault {
            caused!(None, warn, provider = self.config.name, fault, "a person counts as in no group");
        }
        Ok(verified)
    }

    /// Asks the provider to revoke a refresh token (RFC 7009), if it supports that.
    pub async fn revoke(&self, refresh_token: &Secret) -> Result<(), ProviderError> {
        let endpoints = self.endpoints().await?;
        let Some(endpoint) = &endpoints.revocation_endpoint else { return Ok(()) };
        let fields = [("token", refresh_token.expose()), ("token_type_hint", "refresh_token")];
        let answer = self.post(&endpoints, endpoint, &fields).await?;
        if answer.status == 200 { Ok(()) } else { Err(refusal::of_answer(&answer)) }
    }

    /// Where the browser goes to end the person's session at the provider (OpenID Connect RP-Initiated Logout §2), and from
    /// where it returns to `return_to`; `None` if the provider has no such page. ID tokens are not kept, so it may ask.
    pub async fn end_session_url(&self, return_to: &str) -> Result<Option<String>, ProviderError> {
        let endpoints = self.endpoints().await?;
        let Some(endpoint) = &endpoints.end_session_endpoint else { return Ok(None) };
        let query = [("client_id", self.config.client_id.as_str()), ("post_logout_redirect_uri", return_to)];
        Ok(Some(with_query(endpoint, &encode_pairs(query))))
    }

    async fn token(&self, fields: &[(&str, &str)]) -> Result<TokenResponse, ProviderError> {
        let endpoints = self.endpoints().await?;
        let answer = self.post(&endpoints, &endpoints.token_endpoint, fields).await?;
        if answer.status != 200 {
            return Err(refusal::of_answer(&answer));
        }
        let given: TokenResponse = serde_json::from_slice(&answer.body)
            .map_err(|_| ProviderError::Unusable("its token endpoint answered something else than tokens".into()))?;
        if [&given.id_token, &given.refresh_token].into_iter().flatten().any(|token| token.expose().len() > MAX_TOKEN) {
            return Err(ProviderError::Unusable("it issued a token of more than 32 KiB".into()));
        }
        Ok(given)
    }

    async fn post(
        &self,
        endpoints: &Endpoints,
        endpoint: &str,
        fields: &[(&str, &str)],
    ) -> Result<http::Answer, ProviderError> {
        let Config { client_id, client_secret, .. } = &self.config;
        let credentials = match client_secret {
            None => Credentials::Public,
            Some(secret) if endpoints.wants_secret_in_form() => Credentials::Form(secret),
            Some(secret) => Credentials::Basic(secret),
        };
        self.http.post_form(endpoint, client_id, credentials, fields).await
    }
}

/// An endpoint, which may have parameters already, with these.
fn with_query(endpoint: &str, query: &str) -> String {
    let separator = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{separator}{query}")
}

/// The answer of a token endpoint, not verified yet.
#[derive(Debug, Deserialize)]
pub struct TokenResponse {
    pub id_token: Option<Secret>,
    pub refresh_token: Option<Secret>,
}
