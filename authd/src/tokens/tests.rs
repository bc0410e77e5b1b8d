//! Feature tests of the module, through the registry.

mod lists;

use serde_json::{Value, json};

use crate::caller::{Caller, Permissions};
use crate::env::{DAY, SECOND};
use crate::testing::TestApp;

async fn mint(app: &TestApp, name: &str, more: Value) -> (String, String) {
    let mut body = json!({ "name": name, "scopes": ["read", "write"] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let created = app.call("tokens.create", body).await.unwrap();
    (created["token"].as_str().unwrap().to_owned(), created["token_id"].as_str().unwrap().to_owned())
}

async fn fault(app: &TestApp, token: &str) -> Value {
    app.call("tokens.validate", json!({ "token": token })).await.unwrap()["error"].clone()
}

#[tokio::test]
async fn a_minted_token_validates_with_its_scopes() {
    let app = TestApp::new().await;
    let (token, id) = mint(&app, "demo", json!({})).await;
    // The first look reads the database, the second the cache.
    for _ in 0..2 {
        let answer = app.call("tokens.validate", json!({ "token": token })).await.unwrap();
        assert_eq!(answer, json!({ "valid": true, "scopes": ["read", "write"], "token_id": id, "name": "demo" }));
    }
    let body = json!({ "token": token, "required_scopes": ["read", "delete"] });
    let answer = app.call("tokens.validate", body).await.unwrap();
    assert_eq!(
        (&answer["error"], &answer["detail"]),
        (&json!("insufficient_scopes"), &json!("the token lacks: delete"))
    );
    assert_eq!(answer["scopes"], json!([]));
}

#[tokio::test]
async fn only_the_hash_of_a_token_is_stored() {
    let app = TestApp::new().await;
    let (token, _) = mint(&app, "demo", json!({ "metadata": { "team": "a" } })).await;
    let random = token.strip_prefix("amp_live_").unwrap();
    for entry in std::fs::read_dir(app.folder()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(random.len()).any(|window| window == random.as_bytes()));
    }
}

#[tokio::test]
async fn a_revoke_is_seen_by_the_next_validate_and_the_first_time_stands() {
    let app = TestApp::new().await;
    let (token, id) = mint(&app, "demo", json!({})).await;
    assert_eq!(fault(&app, &token).await, Value::Null);
    let first = app.call("tokens.revoke", json!({ "id": id, "reason": "lost" })).await.unwrap();
    assert_eq!(fault(&app, &token).await, "token_revoked");
    app.clock.advance(DAY);
    assert_eq!(app.call("tokens.revoke", json!({ "id": id })).await.unwrap(), first);
    let shown = app.call("tokens.show", json!({ "id": id })).await.unwrap();
    assert_eq!((&shown["revoked_at"], &shown["revoke_reason"]), (&first["revoked_at"], &json!("lost")));
}

/// Programs of other systems read both without a look whether they are there.
#[tokio::test]
async fn a_token_is_shown_with_revoked_and_metadata_everywhere() {
    let app = TestApp::new().await;
    let (_, plain) = mint(&app, "plain", json!({ "ttl_days": 1 })).await;
    let (_, ended) = mint(&app, "ended", json!({ "metadata": { "team": "a" } })).await;
    app.call("tokens.revoke", json!({ "id": ended })).await.unwrap();
    app.call("services.create", json!({ "name": "shop" })).await.unwrap();
    app.call("services.create_token", json!({ "id": "shop" })).await.unwrap();
    let list = app.call("tokens.list", json!({ "include_revoked": true })).await.unwrap();
    let of_service = app.call("services.list_tokens", json!({ "id": "shop" })).await.unwrap();
    let mut shown = [&list, &of_service].map(|list| list["tokens"].as_array().unwrap().clone()).concat();
    assert_eq!(shown.len(), 4);
    for id in [&plain, &ended] {
        shown.push(app.call("tokens.show", json!({ "id": id })).await.unwrap());
    }
    shown.push(app.call("tokens.extend", json!({ "id": plain, "extend_days": 1 })).await.unwrap());
    for token in shown {
        let is_ended = token["token_id"] == ended.as_str();
        assert_eq!((&token["revoked"], token["revoked_at"].is_string()), (&json!(is_ended), is_ended), "{token}");
        let metadata = if is_ended { json!({ "team": "a" }) } else { json!({}) };
        assert_eq!(token["metadata"], metadata, "{token}");
    }
}

#[tokio::test]
async fn a_name_is_free_again_after_revoke_or_expiry() {
    let app = TestApp::new().await;
    mint(&app, "demo", json!({ "ttl_days": 1 })).await;
    let again = json!({ "name": "demo", "scopes": ["read"] });
    assert_eq!(app.refused("tokens.create", again.clone()).await, "name_taken");
    app.call("tokens.revoke", json!({ "id": "demo" })).await.unwrap();
    let (_, id) = mint(&app, "demo", json!({ "ttl_days": 1 })).await;
    app.clock.advance(DAY);
    mint(&app, "demo", json!({})).await;
    // The expired one cannot come back under a name that is taken.
    assert_eq!(app.refused("tokens.extend", json!({ "id": id, "extend_days": 1 })).await, "name_taken");
}

#[tokio::test]
async fn an_expired_token_is_refused_at_its_moment_and_can_be_extended() {
    let app = TestApp::new().await;
    let (token, id) = mint(&app, "demo", json!({ "ttl_days": 2 })).await;
    app.clock.advance(2 * DAY - 1);
    assert_eq!(fault(&app, &token).await, Value::Null);
    app.clock.advance(1);
    assert_eq!(fault(&app, &token).await, "token_expired");
    app.call("tokens.extend", json!({ "id": id, "extend_days": 1 })).await.unwrap();
    assert_eq!(fault(&app, &token).await, Value::Null);
    app.clock.advance(DAY);
    assert_eq!(fault(&app, &token).await, "token_expired");
}

#[tokio::test]
async fn a_rotation_lets_the_old_secret_live_for_its_grace() {
    rotate_extend_and_revoke(TestApp::new().await).await;
}

#[tokio::test]
async fn postgres_rotates_extends_and_revokes_the_same_way() {
    let Some(url) = crate::db::testing::postgres_url().await else { return };
    rotate_extend_and_revoke(TestApp::with(&format!("[database]\nurl = {url:?}\n")).await).await;
}

async fn rotate_extend_and_revoke(app: TestApp) {
    let (short, short_id) = mint(&app, "short", json!({ "ttl_days": 1 })).await;
    let rotated = app.call("tokens.rotate", json!({ "id": short_id, "grace_seconds": 3 * 24 * 3600 })).await.unwrap();
    app.call("tokens.extend", json!({ "id": short_id, "extend_days": 1 })).await.unwrap();
    app.clock.advance(DAY);
    assert_eq!(fault(&app, &short).await, Value::Null, "an extension is for the replaced secret too");
    app.clock.advance(DAY);
    for secret in [short.as_str(), rotated["token"].as_str().unwrap()] {
        assert_eq!(fault(&app, secret).await, "token_expired");
    }
    app.call("tokens.revoke", json!({ "id": short_id })).await.unwrap();
    for secret in [short.as_str(), rotated["token"].as_str().unwrap()] {
        assert_eq!(fault(&app, secret).await, "token_revoked");
    }
    let (old, id) = mint(&app, "demo", json!({})).await;
    assert_eq!(fault(&app, &old).await, Value::Null);
    let rotated = app.call("tokens.rotate", json!({ "id": id, "grace_seconds": 60 })).await.unwrap();
    let new = rotated["token"].as_str().unwrap().to_owned();
    assert_eq!(rotated["token_id"], id);
    assert_eq!((fault(&app, &old).await, fault(&app, &new).await), (Value::Null, Value::Null));
    app.clock.advance(60 * SECOND);
    assert_eq!((fault(&app, &old).await, fault(&app, &new).await), (json!("token_expired"), Value::Null));
    let last = app.call("tokens.rotate", json!({ "id": id })).await.unwrap();
    assert_eq!(fault(&app, &new).await, "token_expired");
    app.call("tokens.revoke", json!({ "id": id })).await.unwrap();
    assert_eq!(fault(&app, last["token"].as_str().unwrap()).await, "token_revoked");
    assert_eq!(app.refused("tokens.rotate", json!({ "id": id })).await, "conflict");
}

#[tokio::test]
async fn a_retry_with_the_same_key_gets_the_same_secret() {
    let app = TestApp::new().await;
    let body = json!({ "name": "demo", "scopes": ["read"], "idempotency_key": "k-1" });
    let first = app.call("tokens.create", body.clone()).await.unwrap();
    assert_eq!(app.call("tokens.create", body).await.unwrap(), first);
    let other = json!({ "name": "other", "scopes": ["read"], "idempotency_key": "k-1" });
    assert_eq!(app.refused("tokens.create", other.clone()).await, "idempotency_key_reused");
    // Another caller's key of the same name is another key.
    let alice = Caller::Peer { uid: 7, user: "alice".into(), permissions: Permissions::ALL };
    assert_ne!(app.call_as(alice, "tokens.create", other).await.unwrap()["token"], first["token"]);
    let rotate = json!({ "id": first["token_id"], "idempotency_key": "k-2" });
    let rotated = app.call("tokens.rotate", rotate.clone()).await.unwrap();
    assert_eq!(app.call("tokens.rotate", rotate).await.unwrap(), rotated);
    assert_eq!(fault(&app, rotated["token"].as_str().unwrap()).await, Value::Null);
    assert_eq!(app.call("tokens.list", json!({})).await.unwrap()["total"], 2);
}

#[tokio::test]
async fn a_key_does_not_bring_a_revoked_token_back() {
    let app = TestApp::new().await;
    let body = json!({ "name": "ci", "scopes": ["read"], "idempotency_key": "deploy" });
    let first = app.call("tokens.create", body.clone()).await.unwrap();
    app.call("tokens.revoke", json!({ "id": first["token_id"] })).await.unwrap();
    assert_eq!(app.refused("tokens.create", body).await, "conflict");
}

/// A request that is refused for its key has not taken a name from an expired token.
#[tokio::test]
async fn a_refused_create_frees_no_name() {
    let app = TestApp::new().await;
    let body =
        |name: &str, key: &str| json!({ "name": name, "scopes": ["read"], "ttl_days": 1, "idempotency_key": key });
    app.call("tokens.create", body("nightly", "a")).await.unwrap();
    app.clock.advance(DAY / 2);
    app.call("tokens.create", body("other", "b")).await.unwrap();
    app.clock.advance(DAY / 2);
    assert_eq!(app.refused("tokens.create", body("nightly", "b")).await, "idempotency_key_reused");
    let kept = app.call("tokens.extend", json!({ "id": "nightly", "extend_days": 1 })).await.unwrap();
    assert_eq!(kept["name"], "nightly");
}

#[tokio::test]
async fn a_key_can_be_used_again_after_a_day() {
    let app = TestApp::new().await;
    let body = |name: &str| json!({ "name": name, "scopes": ["read"], "idempotency_key": "nightly" });
    let first = app.call("tokens.create", body("one")).await.unwrap();
    app.clock.advance(DAY - 1);
    assert_eq!(app.call("tokens.create", body("one")).await.unwrap(), first);
    assert_eq!(app.refused("tokens.create", body("two")).await, "idempotency_key_reused");
    // Nobody has swept: the record of the first use still stands there.
    app.clock.advance(1);
    let second = app.call("tokens.create", body("two")).await.unwrap();
    assert_ne!(second["token"], first["token"]);
    assert_eq!(app.call("tokens.create", body("two")).await.unwrap(), second);
}

#[tokio::test]
async fn the_same_request_sent_many_times_at_once_makes_one_token() {
    let app = TestApp::new().await;
    let body = json!({ "name": "demo", "scopes": ["read"], "idempotency_key": "k" });
    let calls: Vec<_> = (0..16).map(|_| app.spawn("tokens.create", body.clone())).collect();
    let mut secrets = std::collections::BTreeSet::new();
    for call in calls {
        secrets.insert(call.await.unwrap().unwrap()["token"].to_string());
    }
    assert_eq!(secrets.len(), 1);
}

#[tokio::test]
async fn a_token_is_tied_to_its_networks() {
    let app = TestApp::new().await;
    let (token, _) = mint(&app, "demo", json!({ "cidrs": ["10.0.0.0/8"] })).await;
    for (address, expected) in [(json!("10.1.1.1"), Value::Null), (json!("11.1.1.1"), json!("address_not_allowed"))] {
        let answer = app.call("tokens.validate", json!({ "token": token, "client_ip": address })).await.unwrap();
        assert_eq!(answer["error"], expected);
    }
    assert_eq!(fault(&app, &token).await, "address_not_allowed");
}

#[tokio::test]
async fn nobody_hands_out_what_they_do_not_hold() {
    let app = TestApp::new().await;
    let (_, mighty) = mint(&app, "mighty", json!({ "scopes": ["authd:admin"] })).await;
    let writer = [shared::op::Permission::TokensWrite].into_iter().collect();
    let writer = Caller::Peer { uid: 7, user: "alice".into(), permissions: writer };
    for scope in ["authd:admin", "authd:audit.read"] {
        let body = json!({ "name": "x", "scopes": [scope] });
        assert_eq!(app.refused_as(writer.clone(), "tokens.create", body).await, "forbidden", "{scope}");
    }
    for (operation, more) in [("tokens.rotate", json!({})), ("tokens.extend", json!({ "extend_days": 1 }))] {
        let mut body = json!({ "id": mighty });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(app.refused_as(writer.clone(), operation, body).await, "forbidden", "{operation}");
    }
    let held = json!({ "name": "x", "scopes": ["authd:tokens.write", "admin"] });
    app.call_as(writer, "tokens.create", held).await.unwrap();
}

#[tokio::test]
async fn lists_are_pages_with_a_kept_total() {
    let app = TestApp::new().await;
    for number in 0..7 {
        let scope = if number % 2 == 0 { "even" } else { "odd" };
        mint(&app, &format!("t{number}"), json!({ "scopes": [scope, "evenly"] })).await;
        app.clock.advance(SECOND);
    }
    app.call("tokens.revoke", json!({ "id": "t0" })).await.unwrap();
    let mut names = Vec::new();
    let mut query = json!({ "limit": 4 });
    loop {
        let page = app.call("tokens.list", query.clone()).await.unwrap();
        assert_eq!(page["total"], 6);
        names.extend(page["tokens"].as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap().to_owned()));
        match &page["next_cursor"] {
            Value::Null => break,
            cursor => query["cursor"] = cursor.clone(),
        }
    }
    assert_eq!(names, ["t6", "t5", "t4", "t3", "t2", "t1"]);
    let total = async |query: Value| app.call("tokens.list", query).await.unwrap()["total"].clone();
    assert_eq!(total(json!({ "include_revoked": true })).await, 7);
    assert_eq!(total(json!({ "scope": "even" })).await, 3);
    assert_eq!(total(json!({ "name": "t0" })).await, 0);
    assert_eq!(total(json!({ "name": "t0", "include_revoked": true })).await, 1);
    assert_eq!(app.refused("tokens.list", json!({ "cursor": "nonsense" })).await, "validation_failed");
}

#[tokio::test]
async fn each_change_leaves_its_row_in_the_audit_log() {
    let app = TestApp::new().await;
    let (token, id) = mint(&app, "demo", json!({ "ttl_days": 1 })).await;
    app.call("tokens.extend", json!({ "id": id, "extend_days": 1 })).await.unwrap();
    app.call("tokens.rotate", json!({ "id": id })).await.unwrap();
    app.call("tokens.revoke", json!({ "id": id })).await.unwrap();
    let log = app.call("audit.list", json!({ "subject": id })).await.unwrap();
    let actions: Vec<_> =
        log["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["tokens.revoke", "tokens.rotate", "tokens.extend", "tokens.create"]);
    assert!(!log.to_string().contains(&token));
}

#[tokio::test]
async fn malformed_tokens_cost_no_look_up_and_unknown_ones_one() {
    let app = TestApp::new().await;
    for token in ["", "x", "amp_live_", &"a".repeat(10_000), "amp_live_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(fault(&app, token).await, "token_not_found");
    }
    assert_eq!(app.db_reads(), 0, "a token that fails its checksum is refused without a look-up");
    let unknown = super::model::mint("amp_live_", &[9; super::model::RANDOM]);
    for _ in 0..3 {
        assert_eq!(fault(&app, unknown.expose()).await, "token_not_found");
    }
    // Where other nodes may mint it at any moment, nobody remembers that a token is unknown.
    assert_eq!(app.db_reads(), if crate::testing::on_postgres() { 3 } else { 1 });
}

#[tokio::test]
async fn a_failing_database_is_never_an_answer_about_a_token() {
    let app = TestApp::new().await;
    let (token, _) = mint(&app, "demo", json!({})).await;
    app.break_db(true);
    assert_eq!(app.refused("tokens.validate", json!({ "token": token })).await, "unavailable");
    app.break_db(false);
    assert_eq!(fault(&app, &token).await, Value::Null);
    // What is cached is still true, and needs no database.
    app.break_db(true);
    assert_eq!(fault(&app, &token).await, Value::Null);
}

#[tokio::test]
async fn uses_are_marked_once_a_minute() {
    let app = TestApp::new().await;
    let (token, id) = mint(&app, "demo", json!({})).await;
    let first = app.env.now();
    for _ in 0..5 {
        fault(&app, &token).await;
    }
    app.clock.advance(61 * SECOND);
    fault(&app, &token).await;
    assert_eq!(app.marks_waiting(), 2, "one for each minute, not one for each use");
    app.write_marks().await;
    let used = app.call("tokens.show", json!({ "id": id })).await.unwrap()["last_used_at"].clone();
    assert_eq!(used, json!(shared::time::Time::from_millis(first + 61 * SECOND)));
}

#[tokio::test]
async fn a_full_queue_of_uses_drops_and_counts_them_and_delays_nothing() {
    let app = TestApp::new().await;
    let (token, _) = mint(&app, "demo", json!({})).await;
    for _ in 0..super::usage::QUEUE + 3 {
        fault(&app, &token).await;
        app.clock.advance(61 * SECOND);
    }
    assert_eq!(app.marks_waiting(), super::usage::QUEUE);
    let metrics = app.modules.metrics.encode();
    assert!(metrics.contains("authd_last_uses_dropped_total 3\n"), "{metrics}");
}
