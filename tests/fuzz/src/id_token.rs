//! ID tokens and the key sets that they are verified by. Input: a JWT, a key set, and the claims of a token whose
//! signature was good.
//!
//! Nobody without the private key makes a token that is accepted; no key of a set is symmetric; accepted claims say what
//! was asked, whoever reads them, and are refused once they have ended.

use std::sync::LazyLock;

use authd::oidc_client::Config;
use authd::oidc_client::id_token;
use authd::oidc_client::keys::KeySet;
use serde_json::{Map, Value};

const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 24 * 3600 * 1000;

/// Two public keys; their private ones are lost.
static PUBLISHED: LazyLock<KeySet> = LazyLock::new(|| {
    let set = br#"{"keys":[
        {"kty":"RSA","kid":"rsa","use":"sig","e":"AQAB","n":"vXOcKXVLJDq5B3GIndZ8V_gfYiTOhHw4AsF_5QiS_RUNhPs4pIt3iZ3m0-BvPU5xEsq1XCeof0rI3HPvGNqBdLz_v5G46Fh7gpb0LPj_Lkz-DXN21AYUmbMB0IsQoLwXYYK9jHjQv7B0IEnC-fDwqcSZaE55zu0_r9qbbVm6TL78d2fjEkZp9noimwmG0eLumC6oVRBMnoY3Ybx8oIUuh-u9gpJIN66C-43512wiNGgyGX05cwnyU1GkmA-FiEaqH4herm-9t1kq45IZBJdd5KIgajLf7j79OWqQySYmQd94E9TdVbFtmn5CbjaPv9VZi5TCE3bfMcjMq0y6pigfew"},
        {"kty":"EC","crv":"P-256","kid":"ec","use":"sig","x":"8Lq5pYytF9d0P1fSTwo1hzIw7WNCu_S60QP7CSOu320","y":"G_0n51hgnzWJs5V-P1pd4zQ0VMVJwNNYjS4fyjR1xpA"}
    ]}"#;
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    KeySet::parse(set).expect("the keys can be read")
});

pub fn check(input: &[u8]) {
    let mut parts = crate::parts(input);
    if let Some(token) = crate::text(&mut parts) {
        assert!(PUBLISHED.verify(token).is_err(), "{token} is accepted");
    }
    let set = parts.next().unwrap_or_default();
    if KeySet::parse(set).is_ok() {
        let document: Value = serde_json::from_slice(set).expect("another reader takes the key set for JSON");
        let keys = document["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(keys.iter().any(|key| matches!(key["kty"].as_str(), Some("RSA" | "EC" | "OKP"))), "{document}");
    }
    let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(parts.next().unwrap_or_default()) else { return };
    let provider = Config {
        issuer: "https://id.example/pool".into(),
        client_id: "us".into(),
        groups_claim: "groups".into(),
        require_token_use: true,
        ..Config::default()
    };
    let Ok((identity, ends_at)) = id_token::check(&provider, &claims, Some("n"), NOW) else { return };
    let is = |name: &str, value: &str| claims.get(name).and_then(Value::as_str) == Some(value);
    assert!(
        is("iss", "https://id.example/pool")
            && is("nonce", "n")
            && is("token_use", "id")
            && is("sub", &identity.subject)
    );
    let audiences = claims.get("aud").map(|aud| aud.as_array().map_or(std::slice::from_ref(aud), Vec::as_slice));
    assert!(audiences.is_some_and(|names| names.iter().any(|name| name == "us")));
    assert!(!identity.subject.is_empty() && identity.issuer == provider.issuer && ends_at > NOW - DAY);
    assert!(!identity.email_verified || matches!(claims["email_verified"].to_string().as_str(), "true" | "\"true\""));
    assert!(id_token::check(&provider, &claims, Some("n"), ends_at + DAY).is_err(), "it never ends");
    assert!(id_token::check(&provider, &claims, Some("m"), NOW).is_err(), "any nonce will do");
    let written = serde_json::to_value(&identity).expect("an identity can be stored");
    assert_eq!(serde_json::from_value::<id_token::Identity>(written).expect("it reads back"), identity);
}
