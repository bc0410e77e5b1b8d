//! Login sessions through the registry.

mod signed;
mod sliding;

use serde_json::{Value, json};

use crate::testing::TestApp;

pub const PASSWORD: &str = "correct horse battery";

impl TestApp {
    /// Signs in; the whole answer.
    pub async fn sign_in(&self, username: &str, password: &str) -> Value {
        self.call("sessions.login", json!({ "username": username, "password": password })).await.unwrap()
    }

    /// A new session's token of alice, who exists.
    pub async fn token(&self) -> String {
        self.sign_in("alice", PASSWORD).await["token"].as_str().unwrap().to_owned()
    }

    pub async fn check(&self, token: &str) -> Value {
        self.call("sessions.check_token", json!({ "token": token })).await.unwrap()
    }

    pub async fn is_live(&self, token: &str) -> bool {
        self.check(token).await["valid"] == true
    }

    /// Calls as the person whose token it is.
    pub async fn call_by(&self, token: &str, operation: &str, fields: Value) -> Value {
        let caller = self.caller(token).await.unwrap();
        self.call_as(caller, operation, fields).await.unwrap()
    }

    /// The code that a login is refused with.
    pub async fn login_refused(&self, username: &str, password: &str) -> &'static str {
        self.refused("sessions.login", json!({ "username": username, "password": password })).await
    }
}
