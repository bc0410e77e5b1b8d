use serde_json::{Value, json};

use super::Shop;
use crate::caller::{Caller, Permissions};
use crate::env::SECOND;
use crate::ledger::Subscriber;
use crate::testing::NOW;

fn inactive() -> Value {
    json!({ "active": false })
}

/// Who may ask about everything.
fn auditor() -> Caller {
    Caller::Peer {
        uid: 7,
        user: "auditor".into(),
        permissions: Permissions::from_iter([shared::op::Permission::TokensIntrospect]),
    }
}

#[tokio::test]
async fn a_token_is_told_by_those_who_may_ask_about_every_token() {
    let shop = Shop::new().await;
    let (token, caller) = shop.mint(json!({ "name": "ci", "scopes": ["read", "write"], "ttl_days": 1 })).await;
    let Caller::Token { id, .. } = caller else { unreachable!() };
    let expected = json!({
        "active": true, "scope": "read write", "token_type": "api_token", "sub": id.to_string(), "username": "ci",
        "exp": NOW / SECOND + 86_400, "iss": "http://127.0.0.1:8080",
    });
    for caller in [Caller::AdminToken, auditor()] {
        assert_eq!(shop.introspect(&caller, &token).await, expected);
    }
}

#[tokio::test]
async fn a_session_is_told_with_its_permissions_in_the_service_that_asks() {
    let shop = Shop::new().await;
    let token = shop.sign_in("alice").await;
    let bare = json!({
        "active": true, "token_type": "session", "sub": shop.alice.to_string(), "username": "alice",
        "exp": NOW / SECOND + 300, "iat": NOW / SECOND, "iss": "http://127.0.0.1:8080",
    });
    assert_eq!(shop.introspect(&auditor(), &token).await, bare);
    let mut full = bare.clone();
    full["scope"] = json!("orders.read");
    full["aud"] = json!(shop.id);
    full["roles"] = json!(["clerk"]);
    assert_eq!(shop.introspect(&shop.service(), &token).await, full);
    for named in [shop.id.to_string(), "SHOP".to_owned()] {
        for caller in [auditor(), shop.service()] {
            let fields = json!({ "token": token, "service_id": named });
            assert_eq!(shop.app.call_as(caller, "introspection.introspect", fields).await.unwrap(), full, "{named}");
        }
    }
    for nowhere in ["authd", "unknown", "0190a6f0-0000-7000-8000-000000000000"] {
        let fields = json!({ "token": token, "service_id": nowhere });
        let told = shop.app.call_as(auditor(), "introspection.introspect", fields.clone()).await.unwrap();
        assert_eq!(told, inactive(), "{nowhere}");
        assert_eq!(shop.app.refused_as(shop.service(), "introspection.introspect", fields).await, "forbidden");
    }
}

#[tokio::test]
async fn a_service_is_told_of_its_own_users_and_of_nothing_else() {
    let shop = Shop::new().await;
    let (alice, bob) = (shop.sign_in("alice").await, shop.sign_in("bob").await);
    let (token, _) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    assert_eq!(shop.introspect(&shop.service(), &alice).await["active"], true);
    for other in [&bob, &token, "nonsense", &"0".repeat(64)] {
        assert_eq!(shop.introspect(&shop.service(), other).await, inactive(), "{other}");
    }
    shop.dismiss_alice().await;
    assert_eq!(shop.introspect(&shop.service(), &alice).await, inactive(), "she has left the shop");
}

#[tokio::test]
async fn a_service_may_name_itself_whatever_is_cached() {
    let shop = Shop::new().await;
    let alice = shop.sign_in("alice").await;
    for named in ["shop", " SHOP ", &shop.id.to_string()] {
        shop.app.modules.rbac.forget_all();
        let fields = json!({ "token": alice, "service_id": named });
        let answer = shop.app.call_as(shop.service(), "introspection.introspect", fields).await.unwrap();
        assert_eq!(answer["active"], true, "{named}");
    }
    let other = json!({ "token": alice, "service_id": "authd" });
    assert_eq!(shop.app.refused_as(shop.service(), "introspection.introspect", other).await, "forbidden");
}

#[tokio::test]
async fn everybody_else_may_ask_about_the_token_they_call_with_alone() {
    let shop = Shop::new().await;
    let alice = shop.sign_in("alice").await;
    let (token, holder) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let (other, _) = shop.mint(json!({ "name": "other", "scopes": ["read"] })).await;
    assert_eq!(shop.introspect(&holder, &token).await["active"], true);
    let person = shop.app.caller(&alice).await.unwrap();
    assert_eq!(shop.introspect(&person, &alice).await["active"], true);
    let again = shop.sign_in("alice").await;
    let unknown = crate::tokens::model::mint("amp_live_", &[1; 28]);
    for (caller, of_others) in [(&holder, [&other, &alice]), (&person, [&token, &again])] {
        for token in of_others.into_iter().map(String::as_str).chain([unknown.expose(), "nonsense", &"0".repeat(64)]) {
            let fields = json!({ "token": token });
            let code = shop.app.refused_as(caller.clone(), "introspection.introspect", fields).await;
            assert_eq!(code, "forbidden", "{caller} {token}");
        }
    }
    let fields = json!({ "token": token });
    assert_eq!(shop.app.refused_as(Caller::Anonymous, "introspection.introspect", fields).await, "unauthenticated");
}

#[tokio::test]
async fn a_token_that_is_over_says_nothing_but_that() {
    let shop = Shop::new().await;
    let (revoked, _) = shop.mint(json!({ "name": "revoked", "scopes": ["read"] })).await;
    let (expired, _) = shop.mint(json!({ "name": "expired", "scopes": ["read"], "ttl_days": 1 })).await;
    let (elsewhere, holder) =
        shop.mint(json!({ "name": "elsewhere", "scopes": ["read"], "cidrs": ["10.0.0.0/8"] })).await;
    let (here, own) = shop.mint(json!({ "name": "here", "scopes": ["read"], "cidrs": ["127.0.0.0/8"] })).await;
    let alice = shop.sign_in("alice").await;
    for token in [&revoked, &expired, &alice] {
        assert_eq!(shop.introspect(&auditor(), token).await["active"], true);
    }
    shop.revoke(&Caller::AdminToken, &revoked).await;
    shop.app.clock.advance(86_400 * SECOND);
    // The asker does not tell where the token is used; of its own the daemon knows it.
    for token in [&revoked, &expired, &alice, &elsewhere, &here] {
        assert_eq!(shop.introspect(&auditor(), token).await, inactive());
    }
    assert_eq!(shop.introspect(&holder, &elsewhere).await, inactive());
    assert_eq!(shop.introspect(&own, &here).await["active"], true);
}

#[tokio::test]
async fn asking_is_a_use_for_those_who_may_ask() {
    let shop = Shop::new().await;
    let (token, _) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let alice = shop.sign_in("alice").await;
    shop.introspect(&auditor(), &token).await;
    assert_eq!(shop.app.marks_waiting(), 1);
    shop.app.clock.advance(200 * SECOND);
    let (_, stranger) = shop.mint(json!({ "name": "stranger", "scopes": ["read"] })).await;
    shop.app.refused_as(stranger, "introspection.introspect", json!({ "token": alice })).await;
    let bobs = json!({ "token": alice, "service_id": "authd" });
    shop.app.call_as(auditor(), "introspection.introspect", bobs).await.unwrap();
    let told = shop.introspect(&auditor(), &alice).await;
    assert_eq!(told["exp"], NOW / SECOND + 500, "renewed by this question, and not by those before");
    shop.app.clock.advance(301 * SECOND);
    assert_eq!(shop.introspect(&auditor(), &alice).await, inactive());
}

#[tokio::test]
async fn nothing_is_read_for_what_is_cached() {
    let shop = Shop::new().await;
    let (token, _) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let alice = shop.sign_in("alice").await;
    let ask = async || {
        let told = [
            shop.introspect(&auditor(), &token).await,
            shop.introspect(&auditor(), &alice).await,
            shop.introspect(&shop.service(), &alice).await,
        ];
        assert!(told.iter().all(|told| told["active"] == true), "{told:?}");
    };
    ask().await;
    let before = shop.app.db_reads();
    ask().await;
    assert_eq!(shop.app.db_reads(), before);
}

#[tokio::test]
async fn storage_that_fails_is_no_answer() {
    let shop = Shop::new().await;
    let (token, _) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let alice = shop.sign_in("alice").await;
    shop.app.modules.rbac.access(shop.alice, shop.id).await.unwrap();
    shop.app.break_db(true);
    for token in [&token, &alice] {
        for caller in [auditor(), shop.service()] {
            let fields = json!({ "token": token });
            assert_eq!(shop.app.refused_as(caller, "introspection.introspect", fields).await, "unavailable");
        }
    }
}
