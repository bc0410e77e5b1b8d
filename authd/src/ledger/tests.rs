//! Outcomes that come late or not at all, and callers whose authority ends at the commit boundary.

mod boundary;
mod urgency;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::testing::TestApp;

const PASSWORD: &str = "correct horse battery";

/// A daemon in which alice is a clerk of the shop, with what is asked of her and of a token.
struct Shop {
    app: TestApp,
    token: String,
    session: String,
}

impl Shop {
    async fn new() -> Self {
        let app = TestApp::new().await;
        app.user("alice", PASSWORD).await;
        let must = async |operation: &str, fields: Value| app.call(operation, fields).await.unwrap();
        must("services.create", json!({ "name": "shop" })).await;
        must("roles.create", json!({ "name": "clerk" })).await;
        must("services.add_role", json!({ "service_id": "shop", "role_id": "clerk" })).await;
        must("grants.add_role", grant()).await;
        let minted = must("tokens.create", json!({ "name": "ci", "scopes": ["read"] })).await;
        let session = must("sessions.login", json!({ "username": "alice", "password": PASSWORD })).await;
        let text = |value: &Value| value["token"].as_str().unwrap().to_owned();
        Self { token: text(&minted), session: text(&session), app }
    }

    /// Whether the token is good, the session is, and alice has access: from the caches, if they know.
    async fn held(&self) -> [bool; 3] {
        let valid =
            async |operation: &str, fields: Value| self.app.call(operation, fields).await.unwrap()["valid"] == true;
        [
            valid("tokens.validate", json!({ "token": self.token })).await,
            valid("sessions.check_token", json!({ "token": self.session })).await,
            valid("sessions.check_token", json!({ "token": self.session, "service_id": "shop" })).await,
        ]
    }

    /// Waits until this is held.
    async fn becomes(&self, expected: [bool; 3]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.held().await != expected {
            assert!(Instant::now() < deadline, "still {:?}", self.held().await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn grant() -> Value {
    json!({ "person_id": "alice", "service_id": "shop", "role_id": "clerk" })
}

/// Changes that take something away, with what is held afterwards.
fn takings() -> [(&'static str, Value, [bool; 3]); 6] {
    [
        ("tokens.revoke", json!({ "id": "ci" }), [false, true, true]),
        ("grants.remove_role", grant(), [true, true, false]),
        ("services.remove_role", json!({ "service_id": "shop", "role_id": "clerk" }), [true, true, false]),
        ("sessions.end_all", json!({ "id": "alice" }), [true, false, false]),
        ("users.update", json!({ "id": "alice", "status": "inactive" }), [true, false, false]),
        ("users.delete", json!({ "id": "alice" }), [true, false, false]),
    ]
}

#[tokio::test]
async fn what_is_committed_after_its_caller_was_told_503_is_forgotten_then() {
    for (operation, fields, after) in takings() {
        let shop = Shop::new().await;
        assert_eq!(shop.held().await, [true; 3]);
        let go_on = shop.app.stall_next_change();
        shop.app.set_deadline(Duration::from_millis(20));
        assert_eq!(shop.app.refused(operation, fields).await, "unavailable", "{operation}");
        shop.app.set_deadline(Duration::from_secs(5));
        assert_eq!(
            shop.held().await,
            [true; 3],
            "{operation}: nothing has happened yet, and all of it is cached again"
        );
        go_on.send(()).unwrap();
        shop.becomes(after).await;
    }
}

#[tokio::test]
async fn no_cached_value_is_used_while_a_commit_is_lost() {
    for (operation, fields, after) in takings() {
        let shop = Shop::new().await;
        assert_eq!(shop.held().await, [true; 3]);
        let settle = shop.app.lose_next_change();
        assert_eq!(shop.app.refused(operation, fields).await, "unavailable", "{operation}");
        // It was applied, though nobody here knows: what is asked now is read.
        assert_eq!(shop.held().await, after, "{operation}");
        let reads = shop.app.db_reads();
        assert_eq!(shop.held().await, after, "{operation}");
        assert!(shop.app.db_reads() > reads, "{operation}: answered from a cache");
        settle.send(()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let reads = shop.app.db_reads();
            assert_eq!(shop.held().await, after, "{operation}");
            if shop.app.db_reads() == reads || after == [true, false, false] {
                break;
            }
            assert!(Instant::now() < deadline, "{operation}: the caches are never believed again");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_change_goes_on_when_its_caller_goes_away() {
    let shop = Shop::new().await;
    assert_eq!(shop.held().await, [true; 3]);
    let go_on = shop.app.stall_next_change();
    let call = shop.app.spawn("tokens.revoke", json!({ "id": "ci" }));
    while shop.app.awaits_change() {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    go_on.send(()).unwrap();
    shop.becomes([false, true, true]).await;
}

/// The 257th login of a user ends the one that would end first: other nodes must hear of it too.
#[tokio::test]
async fn a_login_beyond_the_bound_is_a_change_like_any_other() {
    let shop = Shop::new().await;
    let rows = async || {
        let count = "SELECT count(*) FROM invalidations WHERE kind = 'sessions'";
        shop.app.base.db.query(crate::db::Query::new(count, [])).await.unwrap()[0].cursor().int().unwrap()
    };
    let login = || shop.app.call("sessions.login", json!({ "username": "alice", "password": PASSWORD }));
    shop.app.clock.advance(1_000);
    login().await.unwrap();
    assert_eq!(rows().await, 0, "none was ended");
    // Fewer logins, each made by hand, than hashing 255 passwords.
    let copy = "INSERT INTO sessions (id, kind, user_id, token_hash, generation, created_at, renewed_at, last_used_at, \
         idle_expires_at, absolute_expires_at, lease_until, attributes) \
         SELECT $1, kind, user_id, $2, 0, created_at, renewed_at, last_used_at, idle_expires_at + $3, \
         absolute_expires_at, 0, attributes FROM sessions WHERE kind = 'login' ORDER BY id LIMIT 1";
    let copies = (1..=254_u8).map(|number| {
        let id = shop.app.env.uuid().to_string();
        let params = [id.into(), vec![number; 32].into(), i64::from(number).into()];
        crate::db::Statement::one("copy", copy, params)
    });
    shop.app.base.db.commit(copies.collect()).await.unwrap();
    assert_eq!(shop.held().await, [true; 3]);
    login().await.unwrap();
    assert_eq!(rows().await, 1);
    assert_eq!(shop.held().await, [true, false, false], "the oldest is ended, and forgotten here");
}
