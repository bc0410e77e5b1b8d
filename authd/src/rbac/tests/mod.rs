//! Feature tests of the room, through the registry.

mod things;

use serde_json::{Value, json};
use shared::id::{SessionId, UserId};
use shared::op::Permission;
use uuid::Uuid;

use super::AUTHD;
use crate::caller::{Caller, Permissions};
use crate::testing::TestApp;

/// The daemon, and short ways to say what the tests of this room say all the time.
struct Room {
    app: TestApp,
}

impl Room {
    async fn new() -> Self {
        Self { app: TestApp::new().await }
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

    /// alice, the service app, the role editor that counts in it, and the permission write that it has: not granted.
    async fn furnish(&self) {
        self.make("users", "alice").await;
        self.make("services", "app").await;
        self.make("roles", "editor").await;
        self.make("permissions", "write").await;
        self.must("roles.add_permission", json!({ "role_id": "editor", "permission_id": "write" })).await;
        self.must("services.add_role", json!({ "service_id": "app", "role_id": "editor" })).await;
    }

    /// Grants alice the role.
    async fn grant(&self) {
        self.must("grants.add_role", alices_role()).await;
    }

    /// Whether alice may write in app, by every way there is to ask.
    async fn can(&self) -> bool {
        self.has("alice", "app", "write").await
    }

    async fn has(&self, person: &str, service: &str, permission: &str) -> bool {
        let fields = json!({ "person_id": person, "service_id": service, "permission_name": permission });
        let checked = self.must("sessions.check_permission", fields.clone()).await["has_permission"].clone();
        let queried = self.must("sessions.query_permission", fields.clone()).await["has_permission"].clone();
        let explained = self.must("sessions.explain_permission", fields).await;
        assert_eq!((&checked, &queried), (&explained["has_permission"], &checked));
        let because = explained["because"].as_array().unwrap();
        assert_eq!(because.is_empty(), checked == json!(false), "{explained}");
        checked.as_bool().unwrap()
    }

    /// Somebody with exactly these permissions on authd.
    fn holder(permissions: &[Permission]) -> Caller {
        Caller::Peer {
            uid: 7,
            user: "holder".into(),
            permissions: permissions.iter().copied().collect::<Permissions>(),
        }
    }

    /// What the answer to somebody with these permissions is: the error's code, or `ok`.
    async fn outcome(&self, permissions: &[Permission], operation: &str, fields: Value) -> &'static str {
        match self.app.call_as(Self::holder(permissions), operation, fields).await {
            Ok(_) => "ok",
            Err(error) => error.code.as_str(),
        }
    }

    /// Signs somebody in: the token.
    async fn sign_in(&self, username: &str, password: &str) -> String {
        let fields = json!({ "username": username, "password": password });
        let answer = self.app.call_as(Caller::Anonymous, "sessions.login", fields).await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    /// What a session's token is good for.
    async fn check(&self, token: &str) -> Value {
        self.app.call_as(Caller::Anonymous, "sessions.check_token", json!({ "token": token })).await.unwrap()
    }
}

fn alices_role() -> Value {
    json!({ "person_id": "alice", "service_id": "app", "role_id": "editor" })
}

fn names(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap().to_owned()).collect()
}
