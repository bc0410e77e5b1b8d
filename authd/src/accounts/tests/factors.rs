use std::time::Duration;

use serde_json::json;
use shared::id::UserId;

use super::PASSWORD;
use crate::accounts::factors::testing::{code, code_of, decode, insert};
use crate::caller::Caller;
use crate::db::{Query, Statement, Value};
use crate::env::{DAY, MINUTE, SECOND};
use crate::testing::TestApp;

pub(super) const MANY: &str = "[login]\nmax_failures = 100\nmax_failures_per_address = 100000";

impl TestApp {
    /// Alice, who has TOTP with a known secret.
    pub(super) async fn alice_with_totp(&self) -> UserId {
        let alice = self.user("alice", PASSWORD).await;
        insert(&self.base, alice, true).await;
        alice
    }

    /// The code of a login with a TOTP code or a recovery code: empty when it is let in.
    pub(super) async fn login_with(&self, password: &str, totp: Option<&str>) -> &'static str {
        let login = json!({ "username": "alice", "password": password, "totp": totp });
        self.call("sessions.login", login).await.map_or_else(|error| error.code.as_str(), |_| "")
    }

    /// A session of alice, by a code of this many steps from now.
    pub(super) async fn token_by_code(&self, steps: i64) -> String {
        let login = json!({ "username": "alice", "password": PASSWORD, "totp": code(&self.base, steps) });
        self.call("sessions.login", login).await.unwrap()["token"].as_str().unwrap().to_owned()
    }

    pub(super) async fn failures(&self) -> i64 {
        let sql = "SELECT CAST(COALESCE(SUM(failures), 0) AS BIGINT) FROM login_attempts WHERE key = 'name:alice'";
        self.number(sql).await
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        self.base.db.query(Query::new(sql, [])).await.unwrap()[0].cursor().int().unwrap()
    }

    /// Recovery codes of alice, by a code of this many steps from now.
    pub(super) async fn recovery_codes(&self, caller: Caller, steps: i64) -> Vec<String> {
        let renew = json!({ "password": PASSWORD, "code": code(&self.base, steps) });
        let codes = self.call_as(caller, "factors.renew_recovery_codes", renew).await.unwrap();
        codes["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn totp_is_on_once_a_code_has_confirmed_it() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let (own, other) = (app.token().await, app.token().await);
    let alice = app.caller(&own).await.unwrap();
    let wrong = json!({ "password": "wrong" });
    assert_eq!(app.refused_as(alice.clone(), "factors.enable_totp", wrong).await, "validation_failed");
    let confirm = |code: &str| json!({ "code": code });
    assert_eq!(app.refused_as(alice.clone(), "factors.confirm_totp", confirm("123456")).await, "conflict");
    let pending = app.call_by(&own, "factors.enable_totp", json!({ "password": PASSWORD })).await;
    let secret = pending["secret"].as_str().unwrap();
    let uri =
        format!("otpauth://totp/127.0.0.1:alice?secret={secret}&issuer=127.0.0.1&algorithm=SHA1&digits=6&period=30");
    assert_eq!(pending["uri"], uri);
    assert_eq!(pending["expires_at"], "2027-01-15T08:10:00Z");
    assert_eq!(app.login_with(PASSWORD, None).await, "", "nothing is required yet");
    let none = json!({ "factors": [], "recovery_codes": 0 });
    assert_eq!(app.call_by(&own, "factors.list", json!({})).await, none);

    let secret = decode(secret);
    let right = |steps: i64| code_of(&secret, &app.base, steps);
    for wrong in ["000000", &format!(" {}", right(0)), &right(2), &right(-2)] {
        assert_eq!(app.refused_as(alice.clone(), "factors.confirm_totp", confirm(wrong)).await, "validation_failed");
    }
    assert!(app.failures().await > 3, "guesses at the code are counted");
    let codes = app.call_by(&own, "factors.confirm_totp", confirm(&right(0))).await;
    assert_eq!(codes["recovery_codes"].as_array().unwrap().len(), 10);
    assert!(app.is_live(&own).await && !app.is_live(&other).await, "the other sessions have ended");
    assert_eq!(app.refused_as(alice.clone(), "factors.confirm_totp", confirm(&right(1))).await, "conflict");
    let enable = json!({ "password": PASSWORD });
    assert_eq!(app.refused_as(alice, "factors.enable_totp", enable).await, "conflict", "it is on");

    assert_eq!(app.login_with(PASSWORD, None).await, "totp_required");
    assert_eq!(app.login_with(PASSWORD, Some(&right(0))).await, "invalid_credentials", "it has confirmed");
    assert_eq!(app.login_with(PASSWORD, Some(&right(1))).await, "");
    let list = app.call_by(&own, "factors.list", json!({})).await;
    let expected = json!({ "kind": "totp", "name": "authenticator app", "created_at": "2027-01-15T08:00:00Z",
        "last_used_at": "2027-01-15T08:00:00Z" });
    assert_eq!(list, json!({ "factors": [expected], "recovery_codes": 10 }));
    assert_eq!(app.call("factors.list_of_user", json!({ "id": "ALICE" })).await.unwrap(), list);
}

#[tokio::test]
async fn a_pending_totp_is_void_after_ten_minutes_and_replaced_by_the_next() {
    let app = TestApp::with("[sessions]\nttl_seconds = 3600").await;
    app.user("alice", PASSWORD).await;
    let token = app.token().await;
    let enable = async || {
        let pending = app.call_by(&token, "factors.enable_totp", json!({ "password": PASSWORD })).await;
        decode(pending["secret"].as_str().unwrap())
    };
    let alice = app.caller(&token).await.unwrap();
    let (first, second) = (enable().await, enable().await);
    let confirm = |secret: &[u8]| json!({ "code": code_of(secret, &app.base, 0) });
    assert_eq!(app.refused_as(alice.clone(), "factors.confirm_totp", confirm(&first)).await, "validation_failed");
    app.clock.advance(10 * MINUTE);
    assert_eq!(app.refused_as(alice.clone(), "factors.confirm_totp", confirm(&second)).await, "conflict");
    assert_eq!(app.number("SELECT COUNT(*) FROM factors").await, 1);
    let sweep = crate::accounts::SWEEP_PENDING;
    crate::db::sweep::expired(app.base.db.as_ref(), sweep, app.env.now(), 5).await.unwrap();
    assert_eq!(app.number("SELECT COUNT(*) FROM factors").await, 0);
    let third = enable().await;
    app.clock.advance(9 * MINUTE);
    app.call_as(alice, "factors.confirm_totp", confirm(&third)).await.unwrap();
    crate::db::sweep::expired(app.base.db.as_ref(), sweep, app.env.now() + DAY, 5).await.unwrap();
    assert_eq!(app.number("SELECT COUNT(*) FROM factors").await, 1, "what is on is not swept");
}

#[tokio::test]
async fn a_code_signs_in_once_and_has_one_spelling() {
    let app = TestApp::with(MANY).await;
    app.alice_with_totp().await;
    let right = code(&app.base, 0);
    let full_width: String =
        right.bytes().map(|digit| char::from_u32(0xff10 + u32::from(digit - b'0')).unwrap()).collect();
    for text in [
        "",
        &format!(" {right}"),
        &format!("{right} "),
        &format!("{} {}", &right[..3], &right[3..]),
        &full_width,
        "000000",
    ] {
        assert_eq!(app.login_with(PASSWORD, Some(text)).await, "invalid_credentials", "{text:?}");
    }
    for steps in [-3, -2, 2, 3] {
        assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, steps))).await, "invalid_credentials", "{steps}");
    }
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, -1))).await, "");
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, -1))).await, "invalid_credentials", "replayed");
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 1))).await, "");
    assert_eq!(app.login_with(PASSWORD, Some(&right)).await, "invalid_credentials", "a later one was used");
    app.clock.advance(60 * SECOND);
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 0))).await, "");
}

#[tokio::test]
async fn a_code_of_a_wrong_clock_locks_nobody_out() {
    let app = TestApp::new().await;
    app.alice_with_totp().await;
    app.clock.advance(365 * DAY);
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 0))).await, "");
    app.clock.advance(-365 * DAY);
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 0))).await, "");
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 0))).await, "invalid_credentials");
}

/// Only who has the right password of a user who may sign in learns that a code is required.
#[tokio::test]
async fn a_code_is_asked_for_only_after_the_right_password() {
    let app = TestApp::with("[login]\nmax_failures = 3").await;
    app.alice_with_totp().await;
    for username in ["locked", "disabled"] {
        let user = app.user(username, PASSWORD).await;
        insert(&app.base, user, true).await;
    }
    let disable = "UPDATE users SET status = 'inactive' WHERE username = 'disabled'";
    app.base.db.commit(vec![Statement::any("test", disable, [])]).await.unwrap();
    for _ in 0..3 {
        app.login_refused("locked", "wrong").await;
    }
    let mut answers = Vec::new();
    for totp in [None, Some(code(&app.base, 0)), Some("000000".to_owned())] {
        for (username, password) in
            [("nobody", PASSWORD), ("locked", PASSWORD), ("disabled", PASSWORD), ("alice", "wrong")]
        {
            let login = json!({ "username": username, "password": password, "totp": totp });
            let error = app.call("sessions.login", login).await.unwrap_err();
            answers.push((error.code, error.detail, error.fields, error.retry_after));
        }
        app.call("lockouts.clear", json!({ "id": "name:alice" })).await.unwrap();
    }
    let wrong = json!({ "username": "alice", "password": PASSWORD, "totp": "000000" });
    let error = app.call("sessions.login", wrong).await.unwrap_err();
    answers.push((error.code, error.detail, error.fields, error.retry_after));
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(answers[0].0.as_str(), "invalid_credentials");
    assert_eq!(app.login_with(PASSWORD, None).await, "totp_required");
}

#[tokio::test]
async fn password_and_code_are_one_counted_attempt() {
    let app = TestApp::with("[login]\nmax_failures = 3").await;
    app.alice_with_totp().await;
    assert_eq!(app.login_with(PASSWORD, None).await, "totp_required");
    assert_eq!(app.failures().await, 1, "neither forgiven nor counted twice");
    assert_eq!(app.login_with(PASSWORD, Some("000000")).await, "invalid_credentials");
    assert_eq!(app.failures().await, 2);
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 0))).await, "");
    assert_eq!(app.failures().await, 0, "both were right");
    for _ in 0..3 {
        assert_eq!(app.login_with(PASSWORD, None).await, "totp_required");
    }
    assert_eq!(app.login_with(PASSWORD, None).await, "invalid_credentials", "locked, and not told");
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 1))).await, "invalid_credentials");
    app.call("lockouts.clear", json!({ "id": "name:alice" })).await.unwrap();
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 1))).await, "");
    let audit = app.call("audit.list", json!({ "action": "sessions.login" })).await.unwrap();
    let detail = |index: usize| audit["entries"][index]["detail"].clone();
    assert_eq!(detail(0), json!({ "factor": "totp" }));
    assert_eq!(detail(2), json!({ "username": "alice" }), "locked");
    assert_eq!(detail(3), json!({ "username": "alice", "code": "missing" }));
}

#[tokio::test]
async fn the_hundredth_wrong_code_locks_for_good() {
    let app = TestApp::with(MANY).await;
    app.alice_with_totp().await;
    for _ in 0..100 {
        assert_eq!(app.login_with(PASSWORD, Some("000000")).await, "invalid_credentials");
    }
    app.clock.advance(365 * DAY);
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 0))).await, "invalid_credentials");
}

#[tokio::test]
async fn a_database_that_fails_is_never_a_wrong_code() {
    let app = TestApp::with("[login]\nmax_failures = 3").await;
    app.alice_with_totp().await;
    app.set_deadline(Duration::from_millis(500));
    let mut stalled = Vec::new();
    for steps in [-1, 0, 1] {
        stalled.push(app.stall_next_change());
        assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, steps))).await, "unavailable");
    }
    app.set_deadline(Duration::from_mins(1));
    app.clock.advance(MINUTE);
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 0))).await, "", "three failures would lock the name");
}

/// Of ten logins at once, one is let in.
async fn one_of_ten(app: &TestApp, totp: &str) {
    let login = json!({ "username": "alice", "password": PASSWORD, "totp": totp });
    let logins: Vec<_> = (0..10).map(|_| app.spawn("sessions.login", login.clone())).collect();
    let mut codes = Vec::new();
    for login in logins {
        codes.push(login.await.unwrap().map_or_else(|error| error.code.as_str(), |_| ""));
    }
    codes.sort_unstable();
    assert_eq!((codes[0], &codes[1..]), ("", &["invalid_credentials"; 9][..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_logins_with_one_code_one_is_let_in() {
    let app = TestApp::with(MANY).await;
    app.alice_with_totp().await;
    one_of_ten(&app, &code(&app.base, 0)).await;
    let alice = app.caller(&app.token_by_code(1).await).await.unwrap();
    app.clock.advance(MINUTE);
    let codes = app.recovery_codes(alice, 0).await;
    one_of_ten(&app, &codes[3]).await;
    assert_eq!(app.call("factors.list_of_user", json!({ "id": "alice" })).await.unwrap()["recovery_codes"], 9);
}

#[tokio::test]
async fn a_recovery_code_signs_in_once_until_there_are_others() {
    let app = TestApp::with(MANY).await;
    app.alice_with_totp().await;
    let alice = app.caller(&app.token_by_code(-1).await).await.unwrap();
    let codes = app.recovery_codes(alice.clone(), 0).await;
    assert_eq!(app.login_with("wrong", Some(&codes[0])).await, "invalid_credentials");
    assert_eq!(
        app.login_with(PASSWORD, Some(&codes[0].to_lowercase().replace('-', ""))).await,
        "",
        "it was not used up"
    );
    assert_eq!(app.login_with(PASSWORD, Some(&codes[0])).await, "invalid_credentials");
    let list = app.call_as(alice.clone(), "factors.list", json!({})).await.unwrap();
    assert_eq!(list["recovery_codes"], 9);
    let bob = app.user("bob", PASSWORD).await;
    insert(&app.base, bob, true).await;
    let login = json!({ "username": "bob", "password": PASSWORD, "totp": codes[1] });
    assert_eq!(app.refused("sessions.login", login).await, "invalid_credentials", "another's");

    // A recovery code renews them too; then none of the old ones is good.
    let renew = json!({ "password": PASSWORD, "code": codes[1] });
    let renewed = app.call_as(alice.clone(), "factors.renew_recovery_codes", renew).await.unwrap();
    for code in &codes {
        assert_eq!(app.login_with(PASSWORD, Some(code)).await, "invalid_credentials");
    }
    assert_eq!(app.login_with(PASSWORD, renewed["recovery_codes"][9].as_str()).await, "");
    let audit = app.call("audit.list", json!({ "action": "sessions.login", "limit": 1 })).await.unwrap();
    assert_eq!(audit["entries"][0]["detail"], json!({ "factor": "recovery_code" }));
}

#[tokio::test]
async fn of_a_factor_only_the_sealed_secret_and_hashes_of_codes_are_stored() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let own = app.token().await;
    let pending = app.call_by(&own, "factors.enable_totp", json!({ "password": PASSWORD })).await;
    let secret = decode(pending["secret"].as_str().unwrap());
    let confirm = json!({ "code": code_of(&secret, &app.base, 0) });
    let codes = app.call_by(&own, "factors.confirm_totp", confirm).await["recovery_codes"].clone();
    let codes = codes.as_array().unwrap().iter().map(|code| code.as_str().unwrap().replace('-', "").into_bytes());
    let clear: Vec<Vec<u8>> = codes.chain([secret.clone(), pending["secret"].as_str().unwrap().into()]).collect();
    for (sql, count) in [("SELECT * FROM factors", 1), ("SELECT * FROM recovery_codes", 10)] {
        let rows = app.base.db.query(Query::new(sql, [])).await.unwrap();
        assert_eq!(rows.len(), count, "{sql}");
        for value in rows.iter().flat_map(|row| &row.0) {
            let bytes = match value {
                Value::Bytes(bytes) => bytes.clone(),
                other => format!("{other:?}").replace('-', "").into_bytes(),
            };
            let is_in = |clear: &Vec<u8>| bytes.windows(clear.len()).any(|window| window.eq_ignore_ascii_case(clear));
            assert!(!clear.iter().any(is_in), "{sql}");
        }
    }
}

#[tokio::test]
async fn a_right_password_that_waits_for_its_code_is_no_session() {
    let app = TestApp::with(MANY).await;
    app.alice_with_totp().await;
    for (totp, refused) in [(None, "totp_required"), (Some("000000"), "invalid_credentials")] {
        assert_eq!(app.login_with(PASSWORD, totp).await, refused);
        assert_eq!(app.number("SELECT COUNT(*) FROM sessions").await, 0, "{refused}");
    }
}
