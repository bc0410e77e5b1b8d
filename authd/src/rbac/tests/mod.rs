//! Feature tests of the module, through the registry.

mod built_in;
mod explaining;
mod holding;
mod people;
mod relations;
mod service_tokens;
mod store;
mod things;

use serde_json::{Value, json};
use shared::op::Permission;

use crate::caller::Caller;
use crate::testing::TestApp;

const PASSWORD: &str = "correct horse battery";

/// The daemon, and short ways to say what the tests of this module say all the time.
struct Scene {
    app: TestApp,
}

impl Scene {
    async fn new() -> Self {
        Self { app: TestApp::new().await }
    }

    /// alice, the service app, and the role editor, which counts there and has the permission write; nothing granted.
    async fn furnished() -> Self {
        let scene = Self::new().await;
        scene.make("users", "alice").await;
        scene.make("services", "app").await;
        scene.make("roles", "editor").await;
        scene.make("permissions", "write").await;
        scene.must("roles.add_permission", json!({ "role_id": "editor", "permission_id": "write" })).await;
        scene.must("services.add_role", json!({ "service_id": "app", "role_id": "editor" })).await;
        scene
    }

    /// Calls as somebody who holds everything; it must succeed.
    async fn must(&self, operation: &str, fields: Value) -> Value {
        match self.app.call(operation, fields.clone()).await {
            Ok(answer) => answer,
            Err(error) => panic!("{operation} {fields}: {error:?}"),
        }
    }

    async fn refused(&self, operation: &str, fields: Value) -> &'static str {
        self.app.refused(operation, fields).await
    }

    /// Makes a user, service, role or permission of this name, and answers its id.
    async fn make(&self, what: &str, name: &str) -> String {
        let field = if what == "users" { "username" } else { "name" };
        let made = self.must(&format!("{what}.create"), json!({ field: name })).await;
        made["id"].as_str().unwrap().to_owned()
    }

    /// Whether alice may write in app.
    async fn can(&self) -> bool {
        self.has("alice", "app", "write").await
    }

    /// Whether somebody has a permission, by every way there is to ask: they must agree.
    async fn has(&self, person: &str, service: &str, permission: &str) -> bool {
        let fields = json!({ "person_id": person, "service_id": service, "permission_name": permission });
        let checked = self.must("sessions.check_permission", fields.clone()).await["has_permission"].clone();
        let queried = self.must("sessions.query_permission", fields.clone()).await["has_permission"].clone();
        let explained = self.must("sessions.explain_permission", fields).await;
        assert_eq!((&checked, &checked), (&explained["has_permission"], &queried), "{explained}");
        let has = checked.as_bool().unwrap();
        assert_eq!(explained["because"].as_array().unwrap().is_empty(), !has, "{explained}");
        assert!(has || !explained["obstacles"].as_array().unwrap().is_empty(), "{explained}");
        has
    }

    /// What somebody with exactly these permissions on authd gets: the error's code, or `ok`.
    async fn outcome(&self, permissions: &[Permission], operation: &str, fields: Value) -> &'static str {
        match self.app.call_as(holder(permissions), operation, fields).await {
            Ok(_) => "ok",
            Err(error) => error.code.as_str(),
        }
    }

    /// Signs somebody in: the token.
    async fn sign_in(&self, username: &str) -> String {
        let fields = json!({ "username": username, "password": PASSWORD });
        let answer = self.app.call_as(Caller::Anonymous, "sessions.login", fields).await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// What a session's token is good for.
    async fn check(&self, token: &str) -> Value {
        self.app.call_as(Caller::Anonymous, "sessions.check_token", json!({ "token": token })).await.unwrap()
    }

    /// The actions in the audit log, newest first.
    async fn actions(&self) -> Vec<String> {
        names(&self.must("audit.list", json!({})).await["entries"], "action")
    }
}

/// Somebody with exactly these permissions on authd.
fn holder(permissions: &[Permission]) -> Caller {
    Caller::Peer { uid: 7, user: "holder".into(), permissions: permissions.iter().copied().collect() }
}

fn alices_role() -> Value {
    json!({ "person_id": "alice", "service_id": "app", "role_id": "editor" })
}

/// One field of every entry of a list.
fn names(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap().to_owned()).collect()
}
