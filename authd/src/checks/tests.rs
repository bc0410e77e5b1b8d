use serde_json::{Value, json};
use shared::api::checks::CheckedToken;
use shared::api::introspection::Introspection;
use shared::api::tokens::Validation;

use crate::introspection::tests::Shop;

/// What hot operations answer is the JSON of their response.
#[tokio::test]
async fn views_are_the_responses_that_are_declared() {
    fn round<T: serde::Serialize + serde::de::DeserializeOwned>(answer: &Value) {
        let decoded: T = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(&serde_json::to_value(decoded).unwrap(), answer);
    }
    let shop = Shop::new().await;
    let session = shop.sign_in("alice").await;
    let odd = json!({ "name": "a \"quoted\" \u{fc}", "scopes": ["read", "a:b"], "ttl_days": 1 });
    let (token, _) = shop.mint(odd).await;
    // Twice each: read from the database, then from the cache.
    for _ in 0..2 {
        for fields in [json!({}), json!({ "service_id": "shop" }), json!({ "service_id": "authd" })] {
            let mut fields = fields;
            fields["token"] = json!(session);
            round::<CheckedToken>(&shop.app.call("sessions.check_token", fields).await.unwrap());
        }
        for required in [json!([]), json!(["write"])] {
            let fields = json!({ "token": token, "required_scopes": required });
            round::<Validation>(&shop.app.call("tokens.validate", fields).await.unwrap());
        }
        for token in [&session, &token, &"0".repeat(64), &"nonsense".to_owned()] {
            let fields = json!({ "token": token });
            round::<Introspection>(&shop.app.call("introspection.introspect", fields.clone()).await.unwrap());
            let answer = shop.app.call_as(shop.service(), "introspection.introspect", fields).await.unwrap();
            round::<Introspection>(&answer);
        }
    }
}
