//! Identities that people and administrators link and unlink.

use serde_json::json;
use shared::id::UserId;
use shared::problem::Code;

use super::PASSWORD;
use super::identities::{ADA, identity, trusted};
use crate::caller::Caller;
use crate::env::MINUTE;
use crate::testing::TestApp;

const WITH_GOOGLE: &str = "[sessions]\nttl_seconds = 3600\n\
     [[provider]]\nname = \"google\"\nissuer = \"https://google.test\"\nclient_id = \"x\"\nweb = true\n\
     [[provider]]\nname = \"corp\"\nissuer = \"https://corp.test\"\nclient_id = \"x\"\n";

impl TestApp {
    async fn with_ada() -> (Self, UserId) {
        let app = Self::with(WITH_GOOGLE).await;
        let ada = app.ada().await;
        (app, ada)
    }

    /// A new session of this person, who has just proved their password.
    async fn proved(&self, username: &str) -> Caller {
        let login = self.call("sessions.login", json!({ "username": username, "password": PASSWORD })).await.unwrap();
        self.caller(login["token"].as_str().unwrap()).await.unwrap()
    }

    async fn link(&self, user: UserId, subject: &str) -> serde_json::Value {
        let fields = json!({ "id": user, "provider": "google", "subject": subject });
        self.call("identities.link", fields).await.unwrap()
    }

    /// The subjects that are linked to a user.
    async fn subjects(&self, user: UserId) -> Vec<String> {
        let list = self.call("identities.list", json!({ "id": user })).await.unwrap();
        let text = |identity: &serde_json::Value| identity["subject"].as_str().unwrap().to_owned();
        list["identities"].as_array().unwrap().iter().map(text).collect()
    }

    async fn link_own(&self, caller: &Caller, subject: &str) -> Result<(), Code> {
        let (google, call) = (trusted(), self.anonymous().of(caller.clone()));
        let linked = self.modules.accounts.link_own_identity(call, &google, &identity(&google, subject, ADA)).await;
        linked.map_err(|error| error.code)
    }
}

#[tokio::test]
async fn an_operator_links_and_unlinks_an_identity() {
    let (app, ada) = TestApp::with_ada().await;
    let google = trusted();
    let linked = app.link(ada, "g-1").await;
    assert_eq!((&linked["provider"], &linked["issuer"]), (&json!("google"), &json!("https://google.test")));
    assert_eq!(app.link(ada, "g-1").await["id"], linked["id"], "again is no error");
    // Whatever the provider says of an address.
    assert_eq!(app.user_of(&google, &identity(&google, "g-1", "elsewhere@example.org")).await, Ok(ada));
    let list = app.call("identities.list", json!({ "id": "ada" })).await.unwrap();
    assert_eq!(list["identities"][0]["email"], "elsewhere@example.org");

    let bob = app.user("bob", PASSWORD).await;
    let of_ada = json!({ "id": bob, "provider": "google", "subject": "g-1" });
    assert_eq!(app.refused("identities.link", of_ada).await, "conflict", "it is another account's");
    let unlink = |user: UserId| json!({ "id": user, "identity": linked["id"] });
    assert_eq!(app.refused("identities.unlink", unlink(bob)).await, "not_found");
    app.call("identities.unlink", unlink(ada)).await.unwrap();
    assert_eq!(app.refused("identities.unlink", unlink(ada)).await, "not_found");
    let told = "SELECT COUNT(*) FROM identities WHERE email IS NOT NULL OR name IS NOT NULL";
    assert_eq!(app.number(told).await, 0, "a later deletion of the account would not find it");
    let live = app.call("sessions.list", json!({ "user": ada })).await.unwrap();
    assert_eq!(live["sessions"], json!([]), "every session has ended");
    // Both sides have verified the address, but it was unlinked on purpose.
    assert_eq!(app.user_of(&google, &identity(&google, "g-1", ADA)).await, Err(Code::Forbidden));
    app.link(ada, "g-1").await;
    assert_eq!(app.user_of(&google, &identity(&google, "g-1", ADA)).await, Ok(ada));
    let audit = app.call("audit.list", json!({})).await.unwrap().to_string();
    assert!(audit.contains("identities.link") && audit.contains("identities.unlink"), "{audit}");
}

#[tokio::test]
async fn an_identity_that_is_unlinked_during_a_sign_in_signs_nobody_in() {
    let (app, ada) = TestApp::with_ada().await;
    let google = trusted();
    let id = app.link(ada, "g-1").await["id"].clone();
    let unlink = app.later("identities.unlink", json!({ "id": ada, "identity": id }));
    app.before_next("link_identity", async { drop(unlink.await.unwrap()) });
    assert_eq!(app.user_of(&google, &identity(&google, "g-1", ADA)).await, Err(Code::Conflict));
    assert!(app.subjects(ada).await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_linked_is_refused() {
    let (app, ada) = TestApp::with_ada().await;
    for (provider, subject, code) in [
        ("nobody", "1", "not_found"),
        ("corp", "1", "not_found"),
        ("", "1", "validation_failed"),
        ("google", "", "validation_failed"),
        ("google", "a\nb", "validation_failed"),
        ("google", "é", "validation_failed"),
    ] {
        let fields = json!({ "id": ada, "provider": provider, "subject": subject });
        assert_eq!(app.refused("identities.link", fields).await, code, "{provider:?} {subject:?}");
    }
    let long = json!({ "id": ada, "provider": "google", "subject": "x".repeat(256) });
    assert_eq!(app.refused("identities.link", long).await, "validation_failed");
    for n in 0..32 {
        app.link(ada, &n.to_string()).await;
    }
    let more = json!({ "id": ada, "provider": "google", "subject": "32" });
    assert_eq!(app.refused("identities.link", more).await, "conflict");
    assert_eq!(app.subjects(ada).await.len(), 32);
}

/// Who may only write users must not get at what a user may do by an identity of their own.
#[tokio::test]
async fn linking_takes_what_the_user_may_do() {
    let (app, ada) = TestApp::with_ada().await;
    app.call("services.create", json!({ "name": "shop" })).await.unwrap();
    app.call("permissions.create", json!({ "name": "orders.read" })).await.unwrap();
    let held = json!({ "person_id": ada, "service_id": "shop", "permission_id": "orders.read" });
    app.call("grants.add_permission", held).await.unwrap();
    app.user("clerk", PASSWORD).await;
    let may = json!({ "person_id": "clerk", "service_id": "authd", "permission_id": "users.write" });
    app.call("grants.add_permission", may).await.unwrap();
    let clerk = app.proved("clerk").await;
    let link = json!({ "id": ada, "provider": "google", "subject": "mine" });
    assert_eq!(app.refused_as(clerk.clone(), "identities.link", link).await, "forbidden");
    assert!(app.subjects(ada).await.is_empty());
    app.user("bob", PASSWORD).await;
    let link = json!({ "id": "bob", "provider": "google", "subject": "his" });
    app.call_as(clerk.clone(), "identities.link", link).await.unwrap();
    let chief = json!({ "person_id": "bob", "service_id": "authd", "permission_id": "system.read" });
    app.call("grants.add_permission", chief).await.unwrap();
    let id = app.call("identities.list", json!({ "id": "bob" })).await.unwrap()["identities"][0]["id"].clone();
    let unlink = json!({ "id": "bob", "identity": id });
    assert_eq!(app.refused_as(clerk, "identities.unlink", unlink).await, "forbidden");
}

#[tokio::test]
async fn a_person_links_what_they_proved_a_short_time_ago() {
    let (app, ada) = TestApp::with_ada().await;
    let google = trusted();
    let session = app.proved("ada").await;
    assert_eq!(app.link_own(&session, "g-1").await, Ok(()));
    assert_eq!(app.user_of(&google, &identity(&google, "g-1", "x@example.org")).await, Ok(ada));
    app.user("bob", PASSWORD).await;
    let bob = app.proved("bob").await;
    assert_eq!(app.link_own(&bob, "g-1").await, Err(Code::Conflict), "it is another account's");
    app.clock.advance(2 * MINUTE);
    let used = app.call_as(session.clone(), "identities.list_own", json!({})).await.unwrap();
    assert_eq!(used["identities"][0]["provider"], "google");
    app.clock.advance(3 * MINUTE);
    assert_eq!(app.link_own(&session, "g-2").await, Err(Code::StepUpRequired));
    assert_eq!(app.subjects(ada).await, ["g-1"]);
}

#[tokio::test]
async fn a_person_unlinks_their_own_and_keeps_a_way_to_sign_in() {
    let (app, ada) = TestApp::with_ada().await;
    let google = trusted();
    let (one, two) = (app.link(ada, "1").await["id"].clone(), app.link(ada, "2").await["id"].clone());
    app.user("bob", PASSWORD).await;
    let bob = app.proved("bob").await;
    assert_eq!(app.refused_as(bob, "identities.unlink_own", json!({ "id": one })).await, "not_found");
    let (_other, session) = (app.proved("ada").await, app.proved("ada").await);
    app.call_as(session.clone(), "identities.unlink_own", json!({ "id": one })).await.unwrap();
    let ended = "SELECT COUNT(*) FROM sessions WHERE end_reason = 'identity_unlinked'";
    assert_eq!(app.number(ended).await, 1, "the other one has ended");
    app.call_as(session.clone(), "sessions.list_own", json!({})).await.unwrap();
    assert_eq!(app.user_of(&google, &identity(&google, "1", ADA)).await, Err(Code::Forbidden));
    assert_eq!(app.link_own(&session, "1").await, Ok(()), "and comes back by proof of both");
    assert_eq!(app.user_of(&google, &identity(&google, "1", ADA)).await, Ok(ada));

    // Without a password or a passkey the last identity stays.
    let sql = "UPDATE users SET password_hash = NULL WHERE username = 'ada'";
    app.base.db.commit(vec![crate::db::Statement::one("forget", sql, [])]).await.unwrap();
    app.call_as(session.clone(), "identities.unlink_own", json!({ "id": two })).await.unwrap();
    let last = app.refused_as(session.clone(), "identities.unlink_own", json!({ "id": one })).await;
    assert_eq!((last, app.subjects(ada).await), ("conflict", vec!["1".to_owned()]));
    app.clock.advance(5 * MINUTE);
    let late = app.refused_as(session, "identities.unlink_own", json!({ "id": one })).await;
    assert_eq!(late, "step_up_required");
}
