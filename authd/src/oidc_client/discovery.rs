//! A provider's endpoints: from the configuration, else from its discovery document (OpenID Connect Discovery §4),
//! fetched at the first use.

use serde::Deserialize;
use shared::url;

use super::http::Http;
use super::{Config, ProviderError};

/// A provider's endpoints.
#[derive(Debug, Default, Deserialize)]
pub struct Endpoints {
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    pub revocation_endpoint: Option<String>,
    /// OpenID Connect RP-Initiated Logout §2.1.
    pub end_session_endpoint: Option<String>,
    /// How clients may authenticate themselves; `client_secret_basic` if it is absent.
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Endpoints {
    /// Whether a client's secret is sent in the form: the other way, which every provider must know (RFC 6749 §2.3.1), is
    /// not in its list.
    pub fn wants_secret_in_form(&self) -> bool {
        let has = |name: &str| self.token_endpoint_auth_methods_supported.iter().flatten().any(|method| method == name);
        has("client_secret_post") && !has("client_secret_basic")
    }
}

pub async fn endpoints(http: &Http, provider: &Config) -> Result<Endpoints, ProviderError> {
    let own = [&provider.authorization_endpoint, &provider.token_endpoint, &provider.jwks_uri];
    let mut endpoints = if own.iter().any(|endpoint| endpoint.is_empty()) {
        let uri = format!("{}/.well-known/openid-configuration", provider.issuer.trim_end_matches('/'));
        let document = http.get(&uri).await?;
        read(&document, &provider.issuer).map_err(|reason| ProviderError::Unusable(format!("{uri}: {reason}")))?
    } else {
        // Cognito's endpoints are all in one folder of the domain.
        let domain = provider.token_endpoint.strip_suffix("/oauth2/token").filter(|_| provider.require_token_use);
        Endpoints {
            revocation_endpoint: domain.map(|domain| format!("{domain}/oauth2/revoke")),
            ..Endpoints::default()
        }
    };
    let found = [&mut endpoints.authorization_endpoint, &mut endpoints.token_endpoint, &mut endpoints.jwks_uri];
    for (own, found) in own.into_iter().zip(found).filter(|(own, _)| !own.is_empty()) {
        found.clone_from(own);
    }
    Ok(endpoints)
}

/// Reads a discovery document of this issuer.
fn read(body: &[u8], issuer: &str) -> Result<Endpoints, String> {
    #[derive(Deserialize)]
    struct Document {
        issuer: String,
        #[serde(flatten)]
        endpoints: Endpoints,
    }
    let document: Document =
        serde_json::from_slice(body).map_err(|_| "it is not an OpenID discovery document".to_owned())?;
    // A document of another issuer could sign in anybody (RFC 9700 §4.4).
    if document.issuer != issuer {
        let issuer = cut(&document.issuer);
        return Err(format!("its issuer is {issuer:?}; the configuration must have exactly that"));
    }
    let endpoints = document.endpoints;
    let plain_is_fine = is_plain(issuer);
    let all = [&endpoints.authorization_endpoint, &endpoints.token_endpoint, &endpoints.jwks_uri];
    for endpoint in all.into_iter().chain(&endpoints.revocation_endpoint).chain(&endpoints.end_session_endpoint) {
        let is_safe = url::parse(endpoint).is_ok_and(|uri| url::is_private(&uri));
        if !is_safe || endpoint.len() > 2048 || (is_plain(endpoint) && !plain_is_fine) {
            return Err(format!("the endpoint {:?} is not an https URL", cut(endpoint)));
        }
    }
    Ok(endpoints)
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Whether it is a plain http URL, which is accepted for a provider on this machine.
fn is_plain(text: &str) -> bool {
    url::parse(text).is_ok_and(|uri| uri.scheme_str() == Some("http"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(issuer: &str, base: &str) -> Vec<u8> {
        let document = json!({
            "issuer": issuer, "authorization_endpoint": format!("{base}/a"), "token_endpoint": format!("{base}/t"),
            "jwks_uri": format!("{base}/k"), "response_types_supported": ["code"],
        });
        document.to_string().into_bytes()
    }

    #[test]
    fn a_document_of_the_issuer_is_read() {
        let endpoints = read(&document("https://id.example", "https://login.example"), "https://id.example").unwrap();
        assert_eq!(endpoints.token_endpoint, "https://login.example/t");
        assert_eq!((endpoints.revocation_endpoint, endpoints.end_session_endpoint), (None, None));
        assert!(read(&document("http://127.0.0.1:9", "http://127.0.0.1:8"), "http://127.0.0.1:9").is_ok());
    }

    #[test]
    fn a_secret_goes_into_the_form_only_where_basic_is_not_offered() {
        for (methods, wanted) in [
            (json!(["client_secret_post"]), true),
            (json!(["client_secret_post", "private_key_jwt"]), true),
            (json!(["client_secret_post", "client_secret_basic"]), false),
            (json!(["client_secret_basic"]), false),
            (json!(["none"]), false),
            (json!([]), false),
            (json!(null), false),
        ] {
            let mut document: serde_json::Value =
                serde_json::from_slice(&document("https://id.example", "https://login.example")).unwrap();
            document["token_endpoint_auth_methods_supported"] = methods.clone();
            let endpoints = read(document.to_string().as_bytes(), "https://id.example").unwrap();
            assert_eq!(endpoints.wants_secret_in_form(), wanted, "{methods}");
        }
    }

    #[test]
    fn another_issuer_plain_http_and_nonsense_are_refused() {
        let good = "https://id.example";
        for (issuer, base) in [
            ("https://other.example", "https://login.example"),
            ("https://id.example/", "https://login.example"),
            (good, "http://login.example"),
            (good, "http://127.0.0.1:8"),
            (good, "javascript:alert(1)"),
            (good, "https://"),
        ] {
            assert!(read(&document(issuer, base), good).is_err(), "{issuer} {base}");
        }
        for body in ["", "{}", "[]", "<html>", "{\"issuer\":\"https://id.example\"}"] {
            assert!(read(body.as_bytes(), good).is_err(), "{body}");
        }
        assert!(read(&document("http://id.example", "http://id.example"), "http://id.example").is_err());
        let mut document: serde_json::Value = serde_json::from_slice(&document(good, "https://login.example")).unwrap();
        document["end_session_endpoint"] = json!("http://login.example/out");
        assert!(read(document.to_string().as_bytes(), good).is_err());
    }
}
