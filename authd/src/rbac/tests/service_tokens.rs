//! The tokens of services.

use super::*;

impl Scene {
    /// A token of the service app: secret and id.
    async fn service_token(&self) -> (String, String) {
        let made = self.must("services.create_token", json!({ "id": "app" })).await;
        (made["token"].as_str().unwrap().to_owned(), made["token_id"].as_str().unwrap().to_owned())
    }

    async fn fault(&self, token: &str) -> Value {
        self.app.call_as(Caller::Anonymous, "tokens.validate", json!({ "token": token })).await.unwrap()["error"]
            .clone()
    }
}

#[tokio::test]
async fn a_service_asks_about_its_own_users_and_nothing_else() {
    let scene = Scene::furnished().await;
    scene.make("services", "other").await;
    scene.must("users.update", json!({ "id": "alice", "password": PASSWORD })).await;
    scene.must("grants.add_role", alices_role()).await;
    let (secret, _) = scene.service_token().await;
    let caller = async || scene.app.caller(&secret).await.unwrap();
    assert!(matches!(caller().await, Caller::Service { .. }));
    let question = |service: &str| json!({ "person_id": "alice", "service_id": service, "permission_name": "write" });
    let answer = scene.app.call_as(caller().await, "sessions.check_permission", question("app")).await.unwrap();
    assert_eq!(answer["has_permission"], true);
    for (operation, fields) in [
        ("sessions.check_permission", question("other")),
        ("sessions.check_permission", question("authd")),
        ("sessions.explain_permission", question("app")),
        ("users.list", json!({})),
        ("services.show", json!({ "id": "app" })),
        ("services.create_token", json!({ "id": "app" })),
        ("grants.list", json!({ "service_id": "app" })),
        ("tokens.list", json!({})),
    ] {
        assert_eq!(scene.app.refused_as(caller().await, operation, fields).await, "forbidden", "{operation}");
    }
    let token = scene.sign_in("alice").await;
    let access = json!({ "token": token, "bearer": secret });
    let answer = scene.app.call_as(caller().await, "sessions.check_access", access.clone()).await.unwrap();
    assert_eq!(answer["access"]["permissions"], json!(["write"]));
    let mut elsewhere = access;
    elsewhere["service_id"] = json!("other");
    assert_eq!(scene.app.refused_as(caller().await, "sessions.check_access", elsewhere).await, "forbidden");
}

#[tokio::test]
async fn tokens_of_a_service_are_listed_and_revoked_by_that_service_alone() {
    let scene = Scene::furnished().await;
    scene.make("services", "other").await;
    let (secret, id) = scene.service_token().await;
    scene.app.clock.advance(1);
    scene.must("services.create_token", json!({ "id": "app", "name": "second", "ttl_days": 7 })).await;
    scene.must("services.create_token", json!({ "id": "other", "name": "third" })).await;
    scene.must("tokens.create", json!({ "name": "plain", "scopes": ["read"] })).await;
    let list = scene.must("services.list_tokens", json!({ "id": "APP", "limit": 1 })).await;
    assert_eq!((names(&list["tokens"], "name"), &list["total"]), (vec!["second".to_owned()], &json!(2)));
    let rest = scene.must("services.list_tokens", json!({ "id": "app", "cursor": list["next_cursor"] })).await;
    assert_eq!(names(&rest["tokens"], "token_id"), [id.as_str()]);
    assert_eq!(rest["next_cursor"], Value::Null);
    assert!(!rest.to_string().contains(&secret));
    assert!(names(&rest["tokens"], "name")[0].starts_with("app-"));

    assert_eq!(scene.fault(&secret).await, Value::Null);
    let plain = scene.must("tokens.show", json!({ "id": "plain" })).await["token_id"].clone();
    for (service, token) in
        [("other", json!(id)), ("app", plain), ("app", json!("0190a6f0-0000-7000-8000-000000000000"))]
    {
        let fields = json!({ "id": service, "token_id": token });
        assert_eq!(scene.refused("services.revoke_token", fields).await, "not_found", "{service}");
    }
    assert_eq!(scene.fault(&secret).await, Value::Null);
    scene.must("services.revoke_token", json!({ "id": "app", "token_id": id })).await;
    assert_eq!(scene.fault(&secret).await, "token_revoked");
    assert_eq!(scene.app.caller(&secret).await.unwrap_err().code.as_str(), "invalid_token");
    let again = json!({ "id": "app", "token_id": id });
    assert_eq!(scene.refused("services.revoke_token", again).await, "not_found", "it is gone");
    assert_eq!(scene.must("services.list_tokens", json!({ "id": "app" })).await["total"], 1);
    assert_eq!(scene.actions().await[0], "services.revoke_token");
    assert_eq!(scene.refused("services.create_token", json!({ "id": "nobody" })).await, "not_found");
    assert_eq!(scene.refused("services.create_token", json!({ "id": "app", "name": "third" })).await, "name_taken");
    assert_eq!(
        scene.refused("services.create_token", json!({ "id": "app", "ttl_days": 0 })).await,
        "validation_failed"
    );
}

#[tokio::test]
async fn the_tokens_of_a_deleted_or_deactivated_service_are_good_for_nothing() {
    let scene = Scene::furnished().await;
    let (secret, _) = scene.service_token().await;
    let (second, _) = scene.service_token().await;
    scene.must("tokens.create", json!({ "name": "plain", "scopes": ["read"] })).await;
    scene.app.caller(&secret).await.unwrap();
    scene.must("services.update", json!({ "id": "app", "status": "inactive" })).await;
    assert_eq!(scene.app.caller(&secret).await.unwrap_err().code.as_str(), "invalid_token");
    scene.must("services.update", json!({ "id": "app", "status": "active" })).await;
    scene.app.caller(&secret).await.unwrap();
    assert_eq!((scene.fault(&secret).await, scene.fault(&second).await), (Value::Null, Value::Null));
    scene.must("services.delete", json!({ "id": "app" })).await;
    assert_eq!(
        (scene.fault(&secret).await, scene.fault(&second).await),
        (json!("token_revoked"), json!("token_revoked"))
    );
    assert_eq!(scene.app.caller(&secret).await.unwrap_err().code.as_str(), "invalid_token");
    assert_eq!(scene.must("tokens.list", json!({})).await["total"], 1, "the counter is kept");
    assert_eq!(scene.must("tokens.list", json!({ "include_revoked": true })).await["total"], 3);
}

#[tokio::test]
async fn service_tokens_take_access_write_by_whatever_route() {
    let scene = Scene::furnished().await;
    let (_, id) = scene.service_token().await;
    let forged = json!({ "name": "forged", "scopes": [format!("authd:service:{}", super::super::AUTHD)] });
    assert_eq!(scene.refused("tokens.create", forged).await, "validation_failed");
    let expiring = scene.must("services.create_token", json!({ "id": "app", "ttl_days": 7 })).await["token_id"].clone();
    for (operation, fields) in
        [("tokens.rotate", json!({ "id": id })), ("tokens.extend", json!({ "id": expiring, "extend_days": 1 }))]
    {
        assert_eq!(
            scene.outcome(&[Permission::TokensWrite], operation, fields.clone()).await,
            "forbidden",
            "{operation}"
        );
        let both = [Permission::TokensWrite, Permission::AccessWrite];
        assert_eq!(scene.outcome(&both, operation, fields).await, "ok", "{operation}");
    }
    assert_eq!(scene.outcome(&[Permission::AccessWrite], "services.create_token", json!({ "id": "app" })).await, "ok");
    let fields = json!({ "id": "app", "token_id": id });
    assert_eq!(scene.outcome(&[Permission::AccessRead], "services.revoke_token", fields.clone()).await, "forbidden");
    assert_eq!(scene.outcome(&[Permission::AccessWrite], "services.revoke_token", fields).await, "ok");
}
