//! Lists and their filters, and lives in days and seconds.

use serde_json::{Value, json};

use super::{fault, mint};
use crate::env::{DAY, SECOND};
use crate::testing::TestApp;

#[tokio::test]
async fn a_list_is_filtered_by_beginning_scope_and_what_expires_soon() {
    let app = TestApp::new().await;
    mint(&app, "ci-expired", json!({ "ttl_seconds": 1 })).await;
    app.clock.advance(2 * SECOND);
    mint(&app, "ci-never", json!({ "scopes": ["deploy"] })).await;
    app.clock.advance(1);
    mint(&app, "ci-soon", json!({ "ttl_days": 7 })).await;
    app.clock.advance(1);
    mint(&app, "Ci-later", json!({ "ttl_days": 8 })).await;
    app.clock.advance(1);
    mint(&app, "cd-soon", json!({ "ttl_seconds": 3600 })).await;
    app.clock.advance(1);
    let (_, gone) = mint(&app, "ci-gone", json!({ "ttl_days": 1 })).await;
    app.call("tokens.revoke", json!({ "id": gone })).await.unwrap();
    let week = 7 * DAY / SECOND;
    for (filter, expected) in [
        (json!({ "prefix": "ci-" }), &["ci-soon", "ci-never", "ci-expired"][..]),
        (json!({ "prefix": "ci-", "include_revoked": true }), &["ci-gone", "ci-soon", "ci-never", "ci-expired"]),
        (json!({ "expires_within": week }), &["cd-soon", "ci-soon"]),
        (json!({ "expires_within": week - 1 }), &["cd-soon"]),
        (json!({ "prefix": "ci-", "expires_within": week }), &["ci-soon"]),
        (json!({ "prefix": "ci-", "scope": "deploy" }), &["ci-never"]),
        (json!({ "prefix": "c%" }), &[]),
    ] {
        let list = app.call("tokens.list", filter.clone()).await.unwrap();
        let names: Vec<&str> =
            list["tokens"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!((names.as_slice(), &list["total"]), (expected, &json!(expected.len())), "{filter}");
    }
    for within in [0, 3_153_600_001_u64] {
        assert_eq!(app.refused("tokens.list", json!({ "expires_within": within })).await, "validation_failed");
    }
}

#[tokio::test]
async fn a_life_is_given_in_days_or_in_seconds() {
    let app = TestApp::new().await;
    let (token, id) = mint(&app, "short", json!({ "ttl_seconds": 90 })).await;
    app.call("tokens.extend", json!({ "id": id, "extend_seconds": 30 })).await.unwrap();
    app.clock.advance(120 * SECOND - 1);
    assert_eq!(fault(&app, &token).await, Value::Null);
    app.clock.advance(1);
    assert_eq!(fault(&app, &token).await, "token_expired");
    for more in [
        json!({ "ttl_days": 1, "ttl_seconds": 1 }),
        json!({ "ttl_seconds": 1, "expires_at": "2099-01-01T00:00:00Z" }),
        json!({ "ttl_seconds": 0 }),
    ] {
        let mut body = json!({ "name": "wrong", "scopes": ["read"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(app.refused("tokens.create", body).await, "validation_failed", "{more}");
    }
    for more in [json!({}), json!({ "extend_days": 1, "extend_seconds": 1 }), json!({ "extend_seconds": 0 })] {
        let mut body = json!({ "id": id });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(app.refused("tokens.extend", body).await, "validation_failed", "{more}");
    }
}

#[tokio::test]
async fn a_shown_token_says_until_when_a_replaced_secret_works() {
    let app = TestApp::new().await;
    let (old, id) = mint(&app, "demo", json!({})).await;
    let end = async || app.call("tokens.show", json!({ "id": "demo" })).await.unwrap()["previous_expires_at"].clone();
    assert_eq!(end().await, Value::Null);
    let first = app.call("tokens.rotate", json!({ "id": id, "grace_seconds": 3600 })).await.unwrap();
    app.call("tokens.rotate", json!({ "id": id, "grace_seconds": 60 })).await.unwrap();
    let second = end().await;
    assert!(
        second.as_str().unwrap() < first["previous_expires_at"].as_str().unwrap(),
        "the later rotation shortens it"
    );
    app.clock.advance(60 * SECOND - 1);
    assert_eq!((end().await, fault(&app, &old).await), (second, Value::Null));
    app.clock.advance(1);
    assert_eq!((end().await, fault(&app, &old).await), (Value::Null, json!("token_expired")));
}
