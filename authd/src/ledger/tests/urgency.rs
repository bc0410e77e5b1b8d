//! What a full disk still lets through: what takes access away, and nothing else.

use serde_json::json;

use crate::sessions::tests::PASSWORD;
use crate::testing::TestApp;

#[tokio::test]
async fn on_a_full_disk_only_what_takes_access_away_is_written() {
    let app = TestApp::new().await;
    let must = async |operation: &str, fields| app.call(operation, fields).await.unwrap();
    for name in ["alice", "bob", "carol"] {
        app.user(name, PASSWORD).await;
    }
    for name in ["shop", "bank", "mill"] {
        must("services.create", json!({ "name": name })).await;
    }
    for name in ["clerk", "guest", "smith"] {
        must("roles.create", json!({ "name": name })).await;
    }
    must("permissions.create", json!({ "name": "orders.write" })).await;
    must("permissions.create", json!({ "name": "orders.read" })).await;
    must("roles.add_permission", json!({ "role_id": "clerk", "permission_id": "orders.write" })).await;
    must("services.add_role", json!({ "service_id": "shop", "role_id": "clerk" })).await;
    let grant = json!({ "person_id": "alice", "service_id": "shop", "role_id": "clerk" });
    must("grants.add_role", grant.clone()).await;
    let direct = json!({ "person_id": "alice", "service_id": "shop", "permission_id": "orders.read" });
    must("grants.add_permission", direct.clone()).await;
    for name in ["one", "two"] {
        must("tokens.create", json!({ "name": name, "scopes": ["read"] })).await;
    }
    let third = must("tokens.create", json!({ "name": "three", "scopes": ["read"] })).await;
    let service_token = must("services.create_token", json!({ "id": "shop" })).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        // Ids sort by their millisecond.
        app.clock.advance(1);
        sessions.push(app.token().await);
    }
    let caller = app.caller(&sessions[1]).await.unwrap();
    let list = must("sessions.list", json!({ "user": "alice" })).await;
    let id_of = |place: usize| list["sessions"][place]["id"].clone();

    app.fill_disk();
    for (operation, fields) in [
        ("tokens.create", json!({ "name": "more", "scopes": ["read"] })),
        ("tokens.rotate", json!({ "id": "one" })),
        ("grants.add_role", json!({ "person_id": "bob", "service_id": "shop", "role_id": "clerk" })),
        ("users.update", json!({ "id": "bob", "status": "active" })),
        ("users.update", json!({ "id": "bob", "name": "Robert" })),
        ("users.update", json!({ "id": "bob", "name": "Robert", "status": "inactive" })),
        ("services.update", json!({ "id": "bank", "description": "money", "status": "inactive" })),
        ("roles.update", json!({ "id": "guest", "name": "visitor", "status": "inactive" })),
        ("sessions.login", json!({ "username": "alice", "password": PASSWORD })),
    ] {
        assert_eq!(app.refused(operation, fields.clone()).await, "unavailable", "{operation} {fields}");
    }
    must("tokens.revoke", json!({ "id": "one" })).await;
    must("introspection.revoke", json!({ "token": third["token"] })).await;
    must("services.revoke_token", json!({ "id": "shop", "token_id": service_token["token_id"] })).await;
    // Newest first: the caller's own session is the last but one.
    must("sessions.end", json!({ "id": id_of(0) })).await;
    app.call_as(caller.clone(), "sessions.end_own", json!({ "id": id_of(1) })).await.unwrap();
    app.call_as(caller.clone(), "sessions.logout", json!({})).await.unwrap();
    must("sessions.end_all", json!({ "id": "alice" })).await;
    for session in &sessions {
        assert!(!app.is_live(session).await);
    }
    must("grants.remove_role", grant).await;
    must("grants.remove_permission", direct).await;
    must("roles.remove_permission", json!({ "role_id": "clerk", "permission_id": "orders.write" })).await;
    must("services.remove_role", json!({ "service_id": "shop", "role_id": "clerk" })).await;
    must("users.update", json!({ "id": "bob", "status": "inactive" })).await;
    must("users.delete", json!({ "id": "carol" })).await;
    must("services.update", json!({ "id": "bank", "status": "inactive" })).await;
    must("services.delete", json!({ "id": "mill" })).await;
    must("roles.update", json!({ "id": "guest", "status": "inactive" })).await;
    must("roles.delete", json!({ "id": "smith" })).await;
    must("permissions.delete", json!({ "id": "orders.read" })).await;
}
