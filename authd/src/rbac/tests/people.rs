//! What happens to users happens to their sessions.

use super::*;

impl Scene {
    /// alice with a password, signed in; her token, in every cache.
    async fn with_session() -> (Self, String) {
        let scene = Self::new().await;
        scene.must("users.create", json!({ "username": "alice", "password": PASSWORD })).await;
        let token = scene.sign_in("alice").await;
        for _ in 0..2 {
            assert_eq!(scene.check(&token).await["valid"], true);
        }
        (scene, token)
    }
}

#[tokio::test]
async fn sessions_of_a_deleted_or_deactivated_user_or_of_an_old_password_die_at_once() {
    let (scene, token) = Scene::with_session().await;
    scene.must("users.delete", json!({ "id": "alice" })).await;
    assert_eq!(scene.check(&token).await["error"], "invalid_token");
    scene.must("users.create", json!({ "username": "alice", "password": PASSWORD })).await;
    assert_eq!(scene.check(&token).await["error"], "invalid_token", "not another alice's either");

    for change in
        [json!({ "id": "alice", "status": "inactive" }), json!({ "id": "alice", "password": "another phrase" })]
    {
        let (scene, token) = Scene::with_session().await;
        let other = scene.sign_in("alice").await;
        scene.must("users.update", change.clone()).await;
        for token in [&token, &other] {
            assert_eq!(scene.check(token).await["error"], "invalid_token", "{change}");
        }
        scene.must("users.update", json!({ "id": "alice", "status": "active", "password": PASSWORD })).await;
        assert_eq!(scene.check(&token).await["error"], "invalid_token", "an end is for good");
        scene.sign_in("alice").await;
    }
}

#[tokio::test]
async fn passwords_that_are_set_work_and_the_ones_before_do_not() {
    let scene = Scene::new().await;
    scene.make("users", "alice").await;
    let login = async |username: &str, password: &str| {
        let fields = json!({ "username": username, "password": password });
        scene
            .app
            .call_as(Caller::Anonymous, "sessions.login", fields)
            .await
            .map(drop)
            .map_err(|error| error.code.as_str())
    };
    assert_eq!(login("alice", PASSWORD).await, Err("invalid_credentials"), "no password is none");
    let answer = scene.must("users.update", json!({ "id": "alice", "password": PASSWORD })).await;
    assert_eq!(answer["has_password"], true);
    assert_eq!(login("alice", PASSWORD).await, Ok(()));
    scene.must("users.update", json!({ "id": "alice", "password": "another phrase" })).await;
    assert_eq!(login("alice", PASSWORD).await, Err("invalid_credentials"));
    assert_eq!(login("alice", "another phrase").await, Ok(()));
    scene.must("users.update", json!({ "id": "alice", "status": "inactive" })).await;
    assert_eq!(login("alice", "another phrase").await, Err("invalid_credentials"));
    scene.must("users.update", json!({ "id": "alice", "status": "active", "username": "alicia" })).await;
    assert_eq!(login("alice", "another phrase").await, Err("invalid_credentials"));
    assert_eq!(login("ALICIA", "another phrase").await, Ok(()));
}

#[tokio::test]
async fn a_password_set_anew_has_another_time_even_within_a_millisecond() {
    let scene = Scene::new().await;
    scene.must("users.create", json!({ "username": "alice", "password": PASSWORD })).await;
    let sql = "SELECT password_changed_at FROM users WHERE live_name = 'alice'";
    let changed_at =
        async || scene.app.base.db.query(crate::db::Query::new(sql, [])).await.unwrap()[0].cursor().int().unwrap();
    let first = changed_at().await;
    scene.must("users.update", json!({ "id": "alice", "name": "Alice" })).await;
    assert_eq!(changed_at().await, first);
    for _ in 0..2 {
        let before = changed_at().await;
        scene.must("users.update", json!({ "id": "alice", "password": "another phrase" })).await;
        assert!(changed_at().await > before, "a login that verified the old one at the same time must find it changed");
    }
}

#[tokio::test]
async fn a_renamed_user_is_called_so_by_the_next_check() {
    let (scene, token) = Scene::with_session().await;
    scene.must("users.update", json!({ "id": "alice", "username": "Alicia", "name": "Alicia B." })).await;
    let payload = scene.check(&token).await["payload"].clone();
    assert_eq!((&payload["username"], &payload["name"]), (&json!("Alicia"), &json!("Alicia B.")));
}

#[tokio::test]
async fn neither_passwords_nor_personal_data_are_in_the_audit_log() {
    let scene = Scene::new().await;
    let user = json!({ "username": "alice", "password": PASSWORD, "document_number": "12345678" });
    scene.must("users.create", user).await;
    let change =
        json!({ "id": "alice", "password": "another phrase", "document_number": "87654321", "name": "Alice A." });
    scene.must("users.update", change).await;
    scene.must("users.delete", json!({ "id": "alice" })).await;
    let log = scene.must("audit.list", json!({})).await;
    assert_eq!(names(&log["entries"], "action"), ["users.delete", "users.update", "users.create"]);
    assert_eq!(log["entries"][1]["detail"]["fields"], json!(["password", "name", "document_number"]));
    let log = log.to_string();
    for secret in [PASSWORD, "another phrase", "argon2", "12345678", "87654321", "Alice A."] {
        assert!(!log.contains(secret), "{secret}");
    }
    let sql = "SELECT COUNT(*) FROM users WHERE password_hash IS NOT NULL";
    assert_eq!(scene.app.base.db.query(crate::db::Query::new(sql, [])).await.unwrap()[0].cursor().int().unwrap(), 0);
}
