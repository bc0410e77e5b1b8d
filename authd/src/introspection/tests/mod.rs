//! Introspection and revocation through the registry.

mod introspecting;
mod revoking;

use serde_json::{Value, json};
use shared::id::{ServiceId, TokenId, UserId};

use crate::caller::{Caller, Permissions};
use crate::testing::TestApp;
use crate::tokens::model::hash;

pub const PASSWORD: &str = "correct horse battery";

/// A daemon with the service `shop`, in which alice is a clerk, and in which bob is nobody.
#[expect(missing_debug_implementations, reason = "tests do not print it")]
pub struct Shop {
    pub app: TestApp,
    pub id: ServiceId,
    pub alice: UserId,
    service: Caller,
}

impl Shop {
    pub async fn new() -> Self {
        Self::with("").await
    }

    pub async fn with(toml: &str) -> Self {
        let app = TestApp::with(toml).await;
        let alice = app.user("alice", PASSWORD).await;
        app.user("bob", PASSWORD).await;
        let must = async |operation: &str, fields: Value| app.call(operation, fields).await.unwrap();
        let service = must("services.create", json!({ "name": "Shop" })).await;
        must("roles.create", json!({ "name": "clerk" })).await;
        must("permissions.create", json!({ "name": "orders.read" })).await;
        must("roles.add_permission", json!({ "role_id": "clerk", "permission_id": "orders.read" })).await;
        must("services.add_role", json!({ "service_id": "shop", "role_id": "clerk" })).await;
        must("grants.add_role", alices_role()).await;
        let id = service["id"].as_str().unwrap().parse().unwrap();
        let token = must("services.create_token", json!({ "id": "shop" })).await;
        let token = (token["token_id"].as_str().unwrap(), token["token"].as_str().unwrap());
        let service = Caller::Service { token: token.0.parse().unwrap(), hash: hash(token.1), service: id };
        Self { app, id, alice, service }
    }

    /// A new session's token.
    pub async fn sign_in(&self, username: &str) -> String {
        let login = self.app.call("sessions.login", json!({ "username": username, "password": PASSWORD })).await;
        login.unwrap()["token"].as_str().unwrap().to_owned()
    }

    /// A new API token: its secret, and the caller that it stands for.
    pub async fn mint(&self, fields: Value) -> (String, Caller) {
        let made = self.app.call("tokens.create", fields.clone()).await.unwrap();
        let id = TokenId(made["token_id"].as_str().unwrap().parse().unwrap());
        let token = made["token"].as_str().unwrap().to_owned();
        let caller = Caller::Token { id, hash: hash(&token), permissions: Permissions::NONE };
        (token, caller)
    }

    /// The caller who holds a token of the shop's own.
    pub fn service(&self) -> Caller {
        self.service.clone()
    }

    pub async fn dismiss_alice(&self) {
        self.app.call("grants.remove_role", alices_role()).await.unwrap();
    }

    pub async fn introspect(&self, caller: &Caller, token: &str) -> Value {
        self.app.call_as(caller.clone(), "introspection.introspect", json!({ "token": token })).await.unwrap()
    }

    pub async fn revoke(&self, caller: &Caller, token: &str) -> Value {
        self.app.call_as(caller.clone(), "introspection.revoke", json!({ "token": token })).await.unwrap()
    }

    /// The rows of the audit log with this action, newest first.
    pub async fn audit(&self, action: &str) -> Vec<Value> {
        let listed = self.app.call("audit.list", json!({ "action": action })).await.unwrap();
        listed["entries"].as_array().unwrap().clone()
    }
}

fn alices_role() -> Value {
    json!({ "person_id": "alice", "service_id": "shop", "role_id": "clerk" })
}
