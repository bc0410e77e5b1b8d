use serde_json::{Value, json};
use shared::api::sessions::SessionKind;
use shared::id::UserId;
use shared::secret::Secret;

use super::PASSWORD;
use super::factors::MANY;
use crate::accounts::passkeys::testing::{self, CONFIG, party};
use crate::db::Statement;
use crate::env::{MINUTE, SECOND};
use crate::mail::testing::queued;
use crate::sessions::model::FRESH;
use crate::testing::TestApp;
use crate::webauthn::testing::{Authenticator, Response};
use crate::webauthn::{Algorithm, Challenge};

const LONG: &str = "[sessions]\nttl_seconds = 3600\n";

fn challenge(options: &Value) -> Challenge {
    let challenge: shared::base64url::Base64Url<32> = serde_json::from_value(options["challenge"].clone()).unwrap();
    challenge.0.try_into().unwrap()
}

impl TestApp {
    async fn with_passkeys() -> Self {
        Self::with(&[CONFIG, LONG, MANY].concat()).await
    }

    /// Alice, who has a passkey.
    async fn alice_with_passkey(&self) -> (UserId, Authenticator) {
        let alice = self.user("alice", PASSWORD).await;
        let (_, authenticator) = testing::insert(&self.base, alice).await;
        (alice, authenticator)
    }

    /// The challenge of a new sign-in of this browser.
    async fn begin(&self, browser: &str) -> Challenge {
        let options = self.modules.accounts.begin_passkey_login(&self.anonymous(), &browser.into()).await.unwrap();
        challenge(&serde_json::to_value(options).unwrap())
    }

    /// The token of a sign-in of this browser, or the code that it is refused with.
    async fn finish(&self, browser: &str, made: &Response) -> Result<String, &'static str> {
        let assertion = serde_json::from_value(testing::assertion(made)).unwrap();
        let accounts = &self.modules.accounts;
        let signed_in =
            accounts.finish_passkey_login(self.anonymous(), Secret::new(browser), assertion, SessionKind::Web).await;
        signed_in.map(|signed_in| signed_in.answer.token.expose().to_owned()).map_err(|error| error.code.as_str())
    }

    async fn sign_in_by(&self, authenticator: &Authenticator) -> Result<String, &'static str> {
        let challenge = self.begin("browser").await;
        self.finish("browser", &authenticator.get(&party(), &challenge)).await
    }

    /// The detail of the last entry of the audit log for this action.
    async fn last_detail(&self, action: &str) -> Value {
        let audit = self.call("audit.list", json!({ "action": action, "limit": 1 })).await.unwrap();
        audit["entries"][0]["detail"].clone()
    }
}

#[tokio::test]
async fn a_passkey_is_registered_and_signs_in_without_a_name_a_password_and_a_code() {
    let app = TestApp::with_passkeys().await;
    let alice = app.alice_with_totp().await;
    let token = app.token_by_code(0).await;
    // Ids of one millisecond are in no order.
    app.clock.advance(SECOND);
    let options = app.call_by(&token, "passkeys.begin", json!({})).await;
    assert_eq!(options["rp"], json!({ "id": "auth.example.com", "name": "auth.example.com" }));
    assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(options["pubKeyCredParams"][0], json!({ "type": "public-key", "alg": -7 }));
    let mut authenticator = Authenticator::new(Algorithm::EdDsa, b"credential", alice.0.as_bytes());
    let made = authenticator.create(&party(), &challenge(&options));
    let passkey = app.call_by(&token, "passkeys.register", testing::registration(&made)).await;
    assert_eq!((&passkey["name"], &passkey["backed_up"]), (&json!("passkey"), &json!(true)));
    let options = app.call_by(&token, "passkeys.begin", json!({})).await;
    assert_eq!(options["excludeCredentials"][0]["transports"], json!(["internal"]));

    authenticator.counter = 1;
    let token = app.sign_in_by(&authenticator).await.unwrap();
    assert_eq!(app.check(&token).await["payload"]["username"], "alice");
    assert_eq!(app.last_detail("sessions.login").await, json!({ "factor": "passkey" }));
    let list = app.call_by(&token, "passkeys.list", json!({})).await;
    assert_eq!(list["passkeys"][0]["last_used_at"], "2027-01-15T08:00:01Z");
    assert_eq!(app.call("passkeys.list_of_user", json!({ "id": "alice" })).await.unwrap(), list);
    let factors = app.call_by(&token, "factors.list", json!({})).await;
    assert_eq!((&factors["factors"][0]["kind"], &factors["factors"][1]["kind"]), (&json!("totp"), &json!("passkey")));
    assert_eq!(app.sign_in_by(&authenticator).await, Err("invalid_credentials"), "its counter has not grown");
    let refused = app.last_detail("sessions.login").await;
    assert!(refused["fault"].as_str().unwrap().contains("counter"), "{refused}");
}

#[tokio::test]
async fn a_challenge_works_once_for_its_browser_and_its_purpose() {
    let app = TestApp::with_passkeys().await;
    let (alice, authenticator) = app.alice_with_passkey().await;
    let made = authenticator.get(&party(), &app.begin("browser").await);
    assert_eq!(app.finish("another", &made).await, Err("conflict"));
    app.finish("browser", &made).await.unwrap();
    assert_eq!(app.finish("browser", &made).await, Err("conflict"), "again");
    let made = authenticator.get(&party(), &app.begin("browser").await);
    app.begin("browser").await;
    assert_eq!(app.finish("browser", &made).await, Err("invalid_credentials"), "a later one has replaced it");
    assert_eq!(app.finish("browser", &made).await, Err("conflict"), "and a failure takes it");
    let made = authenticator.get(&party(), &app.begin("browser").await);
    app.clock.advance(5 * MINUTE);
    assert_eq!(app.finish("browser", &made).await, Err("conflict"), "too late");

    // A challenge for a proof signs nobody in, and one of a session is no other's.
    let (one, other) = (app.token().await, app.token().await);
    let options = app.call_by(&one, "passkeys.begin_proof", json!({})).await;
    app.begin("browser").await;
    let made = authenticator.get(&party(), &challenge(&options));
    assert_eq!(app.finish("browser", &made).await, Err("invalid_credentials"));
    let proof = testing::assertion(&made);
    let caller = app.caller(&other).await.unwrap();
    assert_eq!(app.refused_as(caller, "passkeys.prove", proof.clone()).await, "conflict");
    app.call_by(&one, "passkeys.prove", proof).await;
    let options = app.call_by(&one, "passkeys.begin", json!({})).await;
    let made = testing::authenticator(&app.base, alice).create(&party(), &challenge(&options));
    let made = testing::registration(&made);
    let caller = app.caller(&other).await.unwrap();
    assert_eq!(app.refused_as(caller, "passkeys.register", made.clone()).await, "conflict");
    app.call_by(&one, "passkeys.register", made.clone()).await;
    let caller = app.caller(&one).await.unwrap();
    assert_eq!(app.refused_as(caller, "passkeys.register", made).await, "conflict");
}

#[tokio::test]
async fn a_passkey_that_is_not_accepted_is_a_counted_attempt_and_all_look_the_same() {
    let app = TestApp::with(&[CONFIG, "[login]\nmax_failures = 3"].concat()).await;
    let (alice, authenticator) = app.alice_with_passkey().await;
    let refused = Err("invalid_credentials");
    assert_eq!(app.sign_in_by(&testing::authenticator(&app.base, alice)).await, refused, "unknown");
    assert_eq!(app.failures().await, 0);
    let breaks: [fn(&mut Response); 3] =
        [|made| made.signature[20] ^= 1, |made| made.user_handle = None, |made| made.user_handle = Some(vec![1; 16])];
    for (count, break_it) in (1..).zip(breaks) {
        let mut made = authenticator.get(&party(), &app.begin("browser").await);
        break_it(&mut made);
        assert_eq!(app.finish("browser", &made).await, refused);
        assert_eq!(app.failures().await, count);
    }
    assert_eq!(app.sign_in_by(&authenticator).await, refused, "the name is locked");
    app.call("lockouts.clear", json!({ "id": "name:alice" })).await.unwrap();
    app.call("users.update", json!({ "id": "alice", "status": "inactive" })).await.unwrap();
    assert_eq!(app.sign_in_by(&authenticator).await, refused, "inactive");
    app.call("users.update", json!({ "id": "alice", "status": "active" })).await.unwrap();
    app.sign_in_by(&authenticator).await.unwrap();
    assert_eq!(app.failures().await, 0, "they are forgiven");
    app.call("users.delete", json!({ "id": "alice" })).await.unwrap();
    assert_eq!(app.sign_in_by(&authenticator).await, refused, "deleted");
}

#[tokio::test]
async fn sign_ins_that_an_address_begins_are_limited() {
    let app = TestApp::with_passkeys().await;
    for number in 0..60 {
        app.begin(&format!("browser {number}")).await;
    }
    let begin = app.modules.accounts.begin_passkey_login(&app.anonymous(), &"browser".into()).await;
    assert_eq!(begin.unwrap_err().code.as_str(), "rate_limited");
    app.clock.advance(MINUTE);
    app.begin("browser").await;
}

/// Between the verification and its commit.
#[tokio::test]
async fn of_concurrent_uses_of_one_counter_one_is_accepted() {
    let app = TestApp::with_passkeys().await;
    let (_, mut authenticator) = app.alice_with_passkey().await;
    authenticator.counter = 5;
    let token = app.token().await;
    for by_proof in [false, true] {
        let db = app.base.db.clone();
        let reset = vec![Statement::one("test", "UPDATE factors SET counter = 4", [])];
        app.base.db.commit(reset).await.unwrap();
        let used = vec![Statement::one("test", "UPDATE factors SET counter = 5", [])];
        let other = async move { drop(db.commit(used).await.unwrap()) };
        if by_proof {
            let options = app.call_by(&token, "passkeys.begin_proof", json!({})).await;
            let proof = testing::assertion(&authenticator.get(&party(), &challenge(&options)));
            let alice = app.caller(&token).await.unwrap();
            app.before_next_change(other);
            assert_eq!(app.refused_as(alice, "passkeys.prove", proof).await, "invalid_credentials");
        } else {
            let made = authenticator.get(&party(), &app.begin("browser").await);
            app.before_next_change(other);
            assert_eq!(app.finish("browser", &made).await, Err("invalid_credentials"));
        }
        assert!(!app.awaits_change());
    }
}

#[tokio::test]
async fn registering_and_removing_take_a_fresh_proof_which_a_passkey_is() {
    let app = TestApp::with_passkeys().await;
    let (alice, authenticator) = app.alice_with_passkey().await;
    let token = app.token().await;
    let caller = app.caller(&token).await.unwrap();
    let id = app.call_by(&token, "passkeys.list", json!({})).await["passkeys"][0]["id"].clone();
    app.clock.advance(FRESH);
    for (operation, fields) in [("passkeys.begin", json!({})), ("passkeys.remove", json!({ "id": id }))] {
        assert_eq!(app.refused_as(caller.clone(), operation, fields).await, "step_up_required", "{operation}");
    }
    // Another person's passkey proves nothing.
    let bob = app.user("bob", PASSWORD).await;
    let (_, of_bob) = testing::insert(&app.base, bob).await;
    for (who, good) in [(&of_bob, false), (&authenticator, true)] {
        let options = app.call_by(&token, "passkeys.begin_proof", json!({})).await;
        assert_eq!(options["allowCredentials"].as_array().unwrap().len(), 1);
        let proof = testing::assertion(&who.get(&party(), &challenge(&options)));
        if good {
            let proven = app.call_by(&token, "passkeys.prove", proof).await;
            assert_eq!(proven, json!({ "fresh_until": "2027-01-15T08:10:00Z" }));
        } else {
            assert_eq!(app.refused_as(caller.clone(), "passkeys.prove", proof).await, "invalid_credentials");
            assert_eq!(app.failures().await, 1);
        }
    }
    assert_eq!(app.failures().await, 0);
    let options = app.call_by(&token, "passkeys.begin", json!({})).await;
    let made = testing::authenticator(&app.base, alice).create(&party(), &challenge(&options));
    app.call_by(&token, "passkeys.register", testing::registration(&made)).await;
    app.call_by(&token, "passkeys.remove", json!({ "id": id })).await;
}

#[tokio::test]
async fn a_removed_passkey_ends_the_other_sessions_and_the_person_is_told() {
    let mail = "[mail]\nsmtp_url = \"smtp://127.0.0.1:1?tls=none\"\nfrom = \"auth@example.com\"\n";
    let app = TestApp::with(&[CONFIG, mail].concat()).await;
    let alice = app.user("alice", PASSWORD).await;
    let (id, authenticator) = testing::insert(&app.base, alice).await;
    app.call("users.update", json!({ "id": "alice", "email": "alice@example.com" })).await.unwrap();
    let (own, other) = (app.token().await, app.sign_in_by(&authenticator).await.unwrap());
    let told = async || queued(&app.base).await.iter().filter(|mail| mail.template == "factors_changed").count();
    let options = app.call_by(&own, "passkeys.begin", json!({})).await;
    let made = testing::authenticator(&app.base, alice).create(&party(), &challenge(&options));
    let added = app.call_by(&own, "passkeys.register", testing::registration(&made)).await["id"].clone();
    assert!(app.is_live(&other).await && told().await == 1);

    app.user("bob", PASSWORD).await;
    let bob = app.sign_in("bob", PASSWORD).await["token"].as_str().unwrap().to_owned();
    let bob = app.caller(&bob).await.unwrap();
    for (operation, fields) in
        [("passkeys.remove", json!({ "id": id })), ("passkeys.rename", json!({ "id": id, "name": "mine" }))]
    {
        assert_eq!(app.refused_as(bob.clone(), operation, fields).await, "not_found", "{operation}");
    }
    app.call_by(&own, "passkeys.rename", json!({ "id": added, "name": "phone" })).await;
    app.call_by(&own, "passkeys.remove", json!({ "id": id })).await;
    assert!(app.is_live(&own).await && !app.is_live(&other).await && told().await == 2);
    assert_eq!(app.sign_in_by(&authenticator).await, Err("invalid_credentials"));
    let list = app.call_by(&own, "passkeys.list", json!({})).await;
    assert_eq!((&list["passkeys"][0]["name"], &list["passkeys"][1]), (&json!("phone"), &Value::Null));
}

#[tokio::test]
async fn a_registration_that_is_not_accepted_is_refused_with_the_reason() {
    let app = TestApp::with_passkeys().await;
    let alice = app.user("alice", PASSWORD).await;
    let token = app.token().await;
    let caller = app.caller(&token).await.unwrap();
    let authenticator = testing::authenticator(&app.base, alice);
    let other = crate::webauthn::RelyingParty::of("https://evil.example").unwrap();
    let register =
        async |made: Response| app.call_as(caller.clone(), "passkeys.register", testing::registration(&made)).await;
    let begin = async || challenge(&app.call_by(&token, "passkeys.begin", json!({})).await);
    let error = register(authenticator.create(&other, &begin().await)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.detail.contains("another origin")), ("validation_failed", true));
    assert!(app.last_detail("passkeys.register").await["fault"].is_string());
    register(authenticator.create(&party(), &begin().await)).await.unwrap();
    let again = register(authenticator.create(&party(), &begin().await)).await.unwrap_err();
    assert_eq!((again.code.as_str(), again.detail.contains("already")), ("conflict", true));
    for _ in 1..32 {
        testing::insert(&app.base, alice).await;
    }
    let made = testing::authenticator(&app.base, alice).create(&party(), &begin().await);
    let full = register(made).await.unwrap_err();
    assert_eq!((full.code.as_str(), full.detail.contains("32 passkeys")), ("conflict", true));
}

#[tokio::test]
async fn where_passkeys_are_required_who_has_one_signs_in_by_nothing_else() {
    let required = "[passkeys]\nmode = \"required\"\n";
    let app = TestApp::with(&[CONFIG, required, MANY].concat()).await;
    let alice = app.user("alice", PASSWORD).await;
    assert_eq!(app.login_with(PASSWORD, None).await, "", "to register one");
    let (id, authenticator) = testing::insert(&app.base, alice).await;
    assert_eq!(app.login_with(PASSWORD, None).await, "passkey_required");
    assert_eq!(
        app.login_with("wrong", None).await,
        "invalid_credentials",
        "who does not know the password learns nothing"
    );
    assert_eq!(app.failures().await, 2);
    let token = app.sign_in_by(&authenticator).await.unwrap();
    let caller = app.caller(&token).await.unwrap();
    assert_eq!(app.refused_as(caller, "passkeys.remove", json!({ "id": id })).await, "conflict", "the last one");
    testing::insert(&app.base, alice).await;
    app.call_by(&token, "passkeys.remove", json!({ "id": id })).await;
}

#[tokio::test]
async fn there_are_no_passkeys_where_they_are_off_or_browsers_make_none() {
    for config in [&[CONFIG, "[passkeys]\nmode = \"off\"\n"].concat(), ""] {
        let app = TestApp::with(config).await;
        let alice = app.user("alice", PASSWORD).await;
        testing::insert(&app.base, alice).await;
        let caller = app.caller(&app.token().await).await.unwrap();
        for operation in ["passkeys.begin", "passkeys.begin_proof"] {
            assert_eq!(app.refused_as(caller.clone(), operation, json!({})).await, "conflict", "{operation}");
        }
        let begin = app.modules.accounts.begin_passkey_login(&app.anonymous(), &"browser".into()).await;
        assert_eq!(begin.unwrap_err().code.as_str(), "conflict");
    }
}

#[tokio::test]
async fn an_operator_removes_the_passkey_of_who_lost_it() {
    let app = TestApp::with_passkeys().await;
    let alice = app.user("alice", PASSWORD).await;
    let (id, authenticator) = testing::insert(&app.base, alice).await;
    let token = app.sign_in_by(&authenticator).await.unwrap();
    let remove = json!({ "id": "ALICE", "passkey": id });
    let person = app.caller(&token).await.unwrap();
    assert_eq!(app.refused_as(person, "passkeys.remove_of_user", remove.clone()).await, "forbidden");
    app.call("passkeys.remove_of_user", remove.clone()).await.unwrap();
    assert!(!app.is_live(&token).await);
    assert_eq!(app.refused("passkeys.remove_of_user", remove).await, "not_found");
    assert_eq!(app.sign_in_by(&authenticator).await, Err("invalid_credentials"));
}
