//! Sign-in by the identities of providers.

use serde_json::json;
use shared::api::sessions::SessionKind;
use shared::id::UserId;
use shared::problem::Code;
use shared::secret::Secret;

use super::PASSWORD;
use super::factors::MANY;
use crate::accounts::factors::testing::{code, insert};
use crate::accounts::{FirstFactor, SignIn};
use crate::env::MINUTE;
use crate::error::Error;
use crate::oidc_client::{Config, Identity};
use crate::testing::{NOW, TestApp};

const OPEN: &str =
    "[accounts]\nsign_up = \"open\"\n[mail]\nsmtp_url = \"smtp://127.0.0.1:1?tls=none\"\nfrom = \"a@example.com\"";
pub(super) const ADA: &str = "ada@example.com";

pub(super) fn trusted() -> Config {
    Config { name: "google".into(), issuer: "https://google.test".into(), trust_email: true, ..Config::default() }
}

fn other() -> Config {
    Config { name: "other".into(), issuer: "https://other.test".into(), ..Config::default() }
}

/// A person as the provider knows them, who has just signed in there.
pub(super) fn identity(provider: &Config, subject: &str, email: &str) -> Identity {
    Identity {
        issuer: provider.issuer.clone(),
        subject: subject.to_owned(),
        email: Some(email.to_owned()),
        email_verified: true,
        name: Some("Ada Lovelace".to_owned()),
        username: None,
        groups: vec!["admins".to_owned()],
        groups_fault: None,
        auth_time: Some(NOW),
    }
}

impl TestApp {
    async fn by_identity(&self, provider: &Config, identity: &Identity) -> Result<SignIn, Error> {
        self.modules.accounts.sign_in_by_identity(&self.anonymous(), provider, identity, SessionKind::Web).await
    }

    /// Whose account the identity signs in to.
    pub(super) async fn user_of(&self, provider: &Config, identity: &Identity) -> Result<UserId, Code> {
        match self.by_identity(provider, identity).await {
            Ok(SignIn::Done(signed_in)) => Ok(signed_in.answer.payload.user_id),
            Ok(SignIn::NeedsCode(_)) => Err(Code::TotpRequired),
            Err(error) => Err(error.code),
        }
    }

    /// A user with a verified address.
    pub(super) async fn ada(&self) -> UserId {
        let ada = self.user("ada", PASSWORD).await;
        self.call("users.update", json!({ "id": ada, "email": ADA })).await.unwrap();
        self.call("users.verify", json!({ "id": ada })).await.unwrap();
        ada
    }

    async fn first_factor(&self, provider: &Config, identity: &Identity) -> FirstFactor {
        match self.by_identity(provider, identity).await.unwrap() {
            SignIn::NeedsCode(proof) => *proof,
            SignIn::Done(_) => panic!("signed in without a code"),
        }
    }
}

#[tokio::test]
async fn an_identity_is_linked_by_itself_only_where_both_sides_verified_the_address() {
    let app = TestApp::new().await;
    let ada = app.ada().await;
    let unverified = app.user("bob", PASSWORD).await;
    app.call("users.update", json!({ "id": unverified, "email": "bob@example.com" })).await.unwrap();
    let (google, other) = (trusted(), other());
    let mut texts = Vec::new();
    for (provider, identity) in [
        // A provider that is not trusted for addresses; one that has not verified it; a user who has not.
        (&other, identity(&other, "1", ADA)),
        (&google, Identity { email_verified: false, ..identity(&google, "1", ADA) }),
        (&google, Identity { email: None, ..identity(&google, "1", ADA) }),
        (&google, identity(&google, "2", "bob@example.com")),
        // A user name is no address.
        (&google, identity(&google, "3", "ada")),
        // Nobody has it, and nobody may sign up.
        (&google, identity(&google, "4", "nobody@example.com")),
    ] {
        let error = app.by_identity(provider, &identity).await.unwrap_err();
        assert_eq!(error.code, Code::Forbidden, "{identity:?}");
        texts.push(error.detail);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "nothing tells whether an address is known");
    assert_eq!(app.number("SELECT COUNT(*) FROM identities").await, 0);

    assert_eq!(app.user_of(&google, &identity(&google, "1", "Ada@Example.COM")).await, Ok(ada));
    // From then on by (issuer, subject), whatever the provider says of the address.
    let moved =
        Identity { email: Some("moved@example.com".into()), email_verified: false, ..identity(&google, "1", ADA) };
    assert_eq!(app.user_of(&google, &moved).await, Ok(ada));
    assert_eq!(app.user_of(&google, &Identity { email: None, ..moved }).await, Ok(ada));
}

#[tokio::test]
async fn an_address_that_is_lost_meanwhile_links_nothing() {
    let app = TestApp::with(MANY).await;
    let ada = app.ada().await;
    insert(&app.base, ada, true).await;
    let google = trusted();
    let proof = app.first_factor(&google, &identity(&google, "1", ADA)).await;
    // Before the code comes, the address is another person's.
    app.call("users.update", json!({ "id": ada, "email": "moved@example.com" })).await.unwrap();
    let code = Secret::new(code(&app.base, 0));
    let late = app.modules.accounts.sign_in_with_code(&app.anonymous(), &proof, &code, SessionKind::Web).await;
    assert_eq!(late.unwrap_err().code, Code::Conflict);
    assert_eq!(app.number("SELECT COUNT(*) FROM identities").await, 0);
    assert_eq!(app.number("SELECT COUNT(*) FROM sessions").await, 0);
}

#[tokio::test]
async fn two_issuers_with_one_subject_are_two_people() {
    let app = TestApp::with(OPEN).await;
    let (google, second) =
        (trusted(), Config { name: "second".into(), issuer: "https://second.test".into(), ..trusted() });
    let ada = app.user_of(&google, &identity(&google, "1", ADA)).await.unwrap();
    let bob = app.user_of(&second, &identity(&second, "1", "bob@example.com")).await.unwrap();
    assert_ne!(ada, bob);
    assert_eq!(app.user_of(&google, &identity(&google, "1", "bob@example.com")).await, Ok(ada));
    assert_eq!(app.user_of(&second, &identity(&second, "1", ADA)).await, Ok(bob));
}

#[tokio::test]
async fn a_first_sign_in_makes_an_account_where_people_may_sign_up() {
    let app = TestApp::with(OPEN).await;
    let (google, other) = (trusted(), other());
    assert_eq!(
        app.user_of(&other, &identity(&other, "1", ADA)).await,
        Err(Code::Forbidden),
        "its addresses prove nothing"
    );
    let ada = app.user_of(&google, &identity(&google, "1", ADA)).await.unwrap();
    let user = app.call("users.show", json!({ "id": ada })).await.unwrap();
    let shown = (&user["username"], &user["name"], &user["email_verified"], &user["has_password"]);
    assert_eq!(shown, (&json!(ADA), &json!("Ada Lovelace"), &json!(true), &json!(false)));
    assert_eq!(app.user_of(&google, &identity(&google, "1", ADA)).await, Ok(ada));
    assert_eq!(app.login_refused(ADA, "").await, "invalid_credentials", "there is no password");
    let list = app.call("sessions.list", json!({ "user": ada })).await.unwrap();
    let of_first = &list["sessions"][1];
    assert_eq!((&of_first["kind"], &of_first["provider"]), (&json!("web"), &json!("google")));

    let closed = TestApp::with(&OPEN.replace("\"open\"", "\"domain\"\ndomains = [\"example.com\"]")).await;
    let elsewhere = identity(&google, "2", "eve@example.org");
    assert_eq!(closed.user_of(&google, &elsewhere).await, Err(Code::Forbidden));
    assert!(closed.user_of(&google, &identity(&google, "1", ADA)).await.is_ok());
}

#[tokio::test]
async fn who_has_totp_needs_a_code_here_too() {
    let app = TestApp::with(MANY).await;
    let ada = app.ada().await;
    insert(&app.base, ada, true).await;
    let google = trusted();
    let ada_there = identity(&google, "1", ADA);
    let proof = app.first_factor(&google, &ada_there).await;
    assert_eq!(app.number("SELECT COUNT(*) FROM sessions").await, 0);
    assert_eq!(app.number("SELECT COUNT(*) FROM identities").await, 0, "nothing is linked by half of a sign-in");
    let send = async |code: &str| {
        let code = Secret::new(code.to_owned());
        app.modules.accounts.sign_in_with_code(&app.anonymous(), &proof, &code, SessionKind::Web).await
    };
    assert_eq!(send("000000").await.unwrap_err().code, Code::InvalidCredentials);
    assert!(matches!(send(&code(&app.base, 0)).await, Ok(SignIn::Done(_))));
    assert_eq!(app.number("SELECT COUNT(*) FROM identities WHERE user_id IS NOT NULL").await, 1);
    app.call("users.update", json!({ "id": ada, "password": "another horse battery" })).await.unwrap();
    assert_eq!(send(&code(&app.base, 1)).await.unwrap_err().code, Code::InvalidToken, "the password was changed");
}

#[tokio::test]
async fn an_inactive_or_deleted_account_lets_nobody_in() {
    let app = TestApp::new().await;
    let ada = app.ada().await;
    let google = trusted();
    let ada_there = identity(&google, "1", ADA);
    assert_eq!(app.user_of(&google, &ada_there).await, Ok(ada));
    app.call("users.update", json!({ "id": ada, "status": "inactive" })).await.unwrap();
    assert_eq!(app.user_of(&google, &ada_there).await, Err(Code::Forbidden));
    app.call("users.delete", json!({ "id": ada })).await.unwrap();
    assert_eq!(app.user_of(&google, &ada_there).await, Err(Code::Forbidden));
    let left = "SELECT COUNT(*) FROM identities WHERE user_id IS NOT NULL OR email IS NOT NULL OR name IS NOT NULL";
    assert_eq!(app.number(left).await, 0, "what the provider said of them is deleted too");
    assert!(app.call("audit.list", json!({})).await.unwrap().to_string().contains("\"provider\":\"google\""));
}

#[tokio::test]
async fn who_was_signed_in_at_the_provider_already_has_proved_nothing_now() {
    let app = TestApp::new().await;
    app.ada().await;
    let google = trusted();
    for (auth_time, fresh) in [(Some(NOW), 1), (Some(NOW - 6 * MINUTE), 0), (None, 0), (Some(NOW + 60 * MINUTE), 0)] {
        let ada_there = Identity { auth_time, ..identity(&google, "1", ADA) };
        app.user_of(&google, &ada_there).await.unwrap();
        let sql = "SELECT CASE WHEN factor_at IS NULL THEN 0 ELSE 1 END FROM sessions ORDER BY id DESC LIMIT 1";
        assert_eq!(app.number(sql).await, fresh, "{auth_time:?}");
        app.clock.advance(1);
    }
}

#[tokio::test]
async fn two_first_sign_ins_at_once_make_one_account() {
    let app = TestApp::with(OPEN).await;
    let google = trusted();
    let ada_there = identity(&google, "1", ADA);
    let (one, two) = tokio::join!(app.user_of(&google, &ada_there), app.user_of(&google, &ada_there));
    let users: Vec<_> = [one, two].into_iter().filter_map(Result::ok).collect();
    assert!(!users.is_empty());
    let again = app.user_of(&google, &ada_there).await.unwrap();
    assert!(users.iter().all(|user| *user == again));
    assert_eq!(app.number("SELECT COUNT(*) FROM users WHERE live_email IS NOT NULL").await, 1);
}
