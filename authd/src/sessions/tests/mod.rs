//! Login sessions through the registry.

mod signed;
mod sliding;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::env::SECOND;
use crate::testing::{NOW, TestApp};

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

#[tokio::test]
async fn a_list_is_filtered_by_when_sessions_began_and_by_what_ends_soon() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    app.token().await;
    app.clock.advance(200 * SECOND);
    app.user("bob", PASSWORD).await;
    let login = json!({ "username": "bob", "password": PASSWORD });
    app.call_as(Caller::Anonymous, "sessions.login", login).await.unwrap();
    let at = |millis: i64| json!(shared::time::Time::from_millis(millis));
    let second = NOW + 200 * SECOND;
    for (filter, users) in [
        (json!({}), &["bob", "alice"][..]),
        (json!({ "since": at(second) }), &["bob"]),
        (json!({ "until": at(second) }), &["alice"]),
        (json!({ "since": at(NOW), "until": at(NOW) }), &[]),
        (json!({ "expires_within": 100 }), &["alice"]),
        (json!({ "expires_within": 99 }), &[]),
        (json!({ "expires_within": 300 }), &["bob", "alice"]),
        (json!({ "expires_within": 300, "user": "bob" }), &["bob"]),
        (json!({ "expires_within": 299, "user": "bob" }), &[]),
        (json!({ "since": at(second), "user": "alice" }), &[]),
    ] {
        let list = app.call("sessions.list", filter.clone()).await.unwrap();
        let found: Vec<&str> =
            list["sessions"].as_array().unwrap().iter().map(|one| one["user"].as_str().unwrap()).collect();
        assert_eq!(found, users, "{filter}");
    }
}
