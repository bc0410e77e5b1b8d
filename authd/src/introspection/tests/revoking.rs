use serde_json::json;

use super::Shop;
use crate::caller::{Caller, Permissions};
use crate::db::Query;

#[tokio::test]
async fn whoever_has_a_sessions_token_may_end_it() {
    let shop = Shop::new().await;
    let (_, stranger) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let callers = [stranger, shop.service(), shop.app.caller(&shop.sign_in("bob").await).await.unwrap()];
    for caller in callers {
        let token = shop.sign_in("alice").await;
        assert_eq!(shop.introspect(&shop.service(), &token).await["active"], true);
        assert_eq!(shop.revoke(&caller, &token).await, json!({}));
        assert_eq!(shop.introspect(&shop.service(), &token).await, json!({ "active": false }), "{caller}");
        let checked = shop.app.call("sessions.check_token", json!({ "token": token })).await.unwrap();
        assert_eq!(checked["valid"], false);
        let row = &shop.audit("introspection.revoke").await[0];
        assert_eq!(
            (row["actor"].as_str(), row["detail"]["reason"].as_str()),
            (Some(&*caller.to_string()), Some("revoked"))
        );
        assert_eq!(shop.revoke(&caller, &token).await, json!({}), "it is as good as revoked");
    }
    let listed = shop.app.call("sessions.list", json!({ "include_ended": true })).await.unwrap();
    let ended = listed["sessions"].as_array().unwrap().iter().filter(|session| session["end_reason"] == "revoked");
    assert_eq!(ended.count(), 3);
    let fields = json!({ "token": "x" });
    assert_eq!(shop.app.refused_as(Caller::Anonymous, "introspection.revoke", fields).await, "unauthenticated");
}

#[tokio::test]
async fn an_api_token_is_revoked_by_itself_or_by_who_may() {
    let shop = Shop::new().await;
    let writer = Caller::Peer {
        uid: 1,
        user: "ops".into(),
        permissions: Permissions::from_iter([shared::op::Permission::TokensWrite]),
    };
    let (own, holder) = shop.mint(json!({ "name": "own", "scopes": ["read"] })).await;
    let (other, _) = shop.mint(json!({ "name": "other", "scopes": ["read"] })).await;
    let person = shop.app.caller(&shop.sign_in("bob").await).await.unwrap();
    for caller in [&holder, &person, &shop.service()] {
        let code = shop.app.refused_as(caller.clone(), "introspection.revoke", json!({ "token": other })).await;
        assert_eq!(code, "forbidden", "{caller}");
    }
    for (caller, token) in [(&holder, &own), (&writer, &other)] {
        let validate = async || shop.app.call("tokens.validate", json!({ "token": token })).await.unwrap();
        assert_eq!(validate().await["valid"], true);
        assert_eq!(shop.revoke(caller, token).await, json!({}));
        assert_eq!(validate().await["error"], "token_revoked", "at once");
        assert_eq!(shop.audit("introspection.revoke").await[0]["actor"], caller.to_string());
        shop.revoke(&writer, token).await;
    }
    assert_eq!(shop.audit("introspection.revoke").await.len(), 2, "the first time stands");
}

#[tokio::test]
async fn what_is_not_known_is_as_good_as_revoked() {
    let shop = Shop::new().await;
    let unknown = crate::tokens::model::mint("amp_live_", &[1; 28]);
    let zeros = "0".repeat(64);
    for token in ["", "nonsense", unknown.expose(), &zeros] {
        let (_, caller) = shop.mint(json!({ "name": format!("n{}", token.len()), "scopes": ["read"] })).await;
        assert_eq!(shop.revoke(&caller, token).await, json!({}), "{token}");
    }
}

#[tokio::test]
async fn a_devices_refresh_token_is_not_said_to_be_revoked() {
    let shop = Shop::new().await;
    let session = shared::id::SessionId(shop.app.env.uuid());
    let token = crate::cli_login::refresh_token::issue(&shop.app.base.keys, session, 1).unwrap();
    let code = shop.app.refused("introspection.revoke", json!({ "token": token.expose() })).await;
    assert_eq!(code, "malformed_request");
}

#[tokio::test]
async fn storage_that_fails_is_never_a_success() {
    let shop = Shop::new().await;
    let (token, holder) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let alice = shop.sign_in("alice").await;
    let zeros = "0".repeat(64);
    shop.introspect(&Caller::AdminToken, &token).await;
    shop.introspect(&Caller::AdminToken, &alice).await;
    shop.app.break_db(true);
    for token in [&token, &alice, &zeros] {
        let code = shop.app.refused_as(holder.clone(), "introspection.revoke", json!({ "token": token })).await;
        assert_eq!(code, "unavailable", "{token}");
    }
    shop.app.break_db(false);
    let rows = shop.app.base.db.query(Query::new("SELECT id FROM sessions WHERE ended_at IS NOT NULL", [])).await;
    assert!(rows.unwrap().is_empty());
    for token in [&token, &alice] {
        assert_eq!(shop.introspect(&Caller::AdminToken, token).await["active"], true);
    }
}
