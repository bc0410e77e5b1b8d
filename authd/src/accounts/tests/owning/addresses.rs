//! Addresses: whose they are, how they are proved, and who may have which.

use serde_json::json;

use super::*;

#[tokio::test]
async fn names_and_addresses_are_one_namespace() {
    let app = open().await;
    app.call("users.create", json!({ "username": "ada@example.com" })).await.unwrap();
    ask(&app, "accounts.sign_up", json!({ "email": "Ada@example.com" })).await.unwrap();
    assert_eq!(last(&app, "sign_up_known").await.0.to, "Ada@example.com");
    sign_up(&app, "bob@example.com").await;
    app.call("users.create", json!({ "username": "carol", "email": "carol@example.com" })).await.unwrap();
    for taken in [
        json!({ "username": "BOB@example.com" }),
        json!({ "username": "dave", "email": "bob@example.com" }),
        json!({ "username": "dave", "email": "ada@example.com" }),
        json!({ "username": "carol@example.com" }),
    ] {
        assert_eq!(app.refused("users.create", taken.clone()).await, "name_taken", "{taken}");
    }
    for taken in
        [json!({ "id": "carol", "email": "bob@example.com" }), json!({ "id": "carol", "username": "bob@example.com" })]
    {
        assert_eq!(app.refused("users.update", taken.clone()).await, "name_taken", "{taken}");
    }
    // A domain in Unicode is compared in ASCII, so a name has it in ASCII.
    app.call("users.create", json!({ "username": "eve", "email": "eve@bücher.example" })).await.unwrap();
    let shadow = json!({ "username": "eve@bücher.example" });
    assert_eq!(app.refused("users.create", shadow).await, "validation_failed");
    let shadow = json!({ "username": "eve@xn--bcher-kva.example" });
    assert_eq!(app.refused("users.create", shadow).await, "name_taken");
    let same = app.call("users.update", json!({ "id": "carol", "username": "carol@example.com" })).await.unwrap();
    assert_eq!(same["username"], "carol@example.com", "one's own address may be one's name");
}

#[tokio::test]
async fn a_new_address_is_proved_first_and_the_old_one_is_told() {
    let app = open().await;
    let ada = sign_up(&app, "ada@example.com").await;
    sign_up(&app, "bob@example.com").await;
    let ada = caller(&app, &ada).await;
    let change = async |email: &str, password: &str| {
        let fields = json!({ "email": email, "password": password });
        app.call_as(ada.clone(), "accounts.change_email", fields).await.map_err(|error| error.code.as_str())
    };
    assert_eq!(change("ada@example.org", "a wrong password").await.unwrap_err(), "validation_failed");
    change("bob@example.com", PASSWORD).await.unwrap();
    assert_eq!(last(&app, "sign_up_known").await.0.to, "bob@example.com", "whose address it is learns of it");
    change("ada@example.org", PASSWORD).await.unwrap();
    let (mail, token) = last(&app, "email_change").await;
    assert_eq!(mail.to, "ada@example.org");
    log_in(&app, "ada@example.com", PASSWORD).await.unwrap();
    ask(&app, "accounts.confirm_email", json!({ "token": token })).await.unwrap();
    assert_eq!(last(&app, "email_changed").await.0.to, "ada@example.com");
    log_in(&app, "ada@example.com", PASSWORD).await.unwrap_err();
    let logged_in = log_in(&app, "ada@example.org", PASSWORD).await.unwrap();
    assert_eq!(logged_in["payload"]["username"], "ada@example.org", "a name that was the address follows it");
    assert_eq!(refused(&app, "accounts.confirm_email", json!({ "token": token })).await, "invalid_token");
}

#[tokio::test]
async fn who_may_not_sign_up_with_an_address_may_not_move_to_it() {
    let domains = "[accounts]\nsign_up = \"domain\"\ndomains = [\"example.com\", \"example.org\"]\n";
    let mut app = TestApp::with(&format!("{MAIL}{domains}")).await;
    let ada = sign_up(&app, "ada@example.com").await;
    let change = async |app: &TestApp, email: &str| {
        let fields = json!({ "email": email, "password": PASSWORD });
        let caller = caller(app, &ada).await;
        app.call_as(caller, "accounts.change_email", fields).await.map_err(|error| error.code.as_str())
    };
    assert_eq!(change(&app, "ada@example.net").await.unwrap_err(), "forbidden");
    change(&app, "ada@example.org").await.unwrap();
    let (_, token) = last(&app, "email_change").await;
    // The domain is taken from the list before the link is used.
    app.config.accounts.domains.truncate(1);
    let app = app.restarted().await;
    assert_eq!(refused(&app, "accounts.confirm_email", json!({ "token": token })).await, "forbidden");
    // Operators set any address, which its owner can prove.
    app.call("users.update", json!({ "id": "ada@example.com", "email": "ada@example.net" })).await.unwrap();
    change(&app, "ada@example.net").await.unwrap();
    let (_, token) = last(&app, "email_change").await;
    ask(&app, "accounts.confirm_email", json!({ "token": token })).await.unwrap();
}

#[tokio::test]
async fn an_address_that_an_operator_moves_is_told_to_the_old_mailbox() {
    let app = open().await;
    sign_up(&app, "ada@example.com").await;
    let user =
        app.call("users.update", json!({ "id": "ada@example.com", "email": "mallory@example.com" })).await.unwrap();
    assert_eq!(user["username"], "mallory@example.com", "nobody signs in by an address that is gone");
    assert_eq!(last(&app, "email_changed").await.0.to, "ada@example.com");
    log_in(&app, "ada@example.com", PASSWORD).await.unwrap_err();
    sign_up(&app, "ada@example.com").await;
}

#[tokio::test]
async fn a_reset_goes_only_to_an_address_that_was_proved_or_invited() {
    let app = open().await;
    let reset = async |email: &str| {
        let requested = ask(&app, "accounts.request_reset", json!({ "email": email })).await.unwrap();
        assert_eq!(requested, json!({ "status": "mail_requested" }));
        app.clock.advance(1);
        queued(&app.base).await.into_iter().any(|mail| mail.template == "reset" && mail.to == email)
    };
    let typed = json!({ "username": "ada", "password": PASSWORD, "email": "mistyped@example.com" });
    app.call("users.create", typed).await.unwrap();
    assert!(!reset("mistyped@example.com").await, "an operator has typed it");
    app.call("users.verify", json!({ "id": "ada" })).await.unwrap();
    assert!(reset("mistyped@example.com").await);
    app.call("users.update", json!({ "id": "ada", "email": "moved@example.com" })).await.unwrap();
    assert!(!reset("moved@example.com").await, "so it is with the next one");
    // Its owner can prove it.
    let ada = log_in(&app, "ada", PASSWORD).await.unwrap();
    let own = json!({ "email": "moved@example.com", "password": PASSWORD });
    app.call_as(caller(&app, &ada).await, "accounts.change_email", own.clone()).await.unwrap();
    let (_, token) = last(&app, "email_change").await;
    ask(&app, "accounts.confirm_email", json!({ "token": token })).await.unwrap();
    assert!(
        queued(&app.base).await.iter().all(|mail| mail.template != "email_changed" || mail.to != "moved@example.com")
    );
    assert!(reset("moved@example.com").await);
    assert_eq!(app.refused_as(caller(&app, &ada).await, "accounts.change_email", own).await, "validation_failed");

    app.call("users.invite", json!({ "email": "bob@example.com" })).await.unwrap();
    assert!(reset("bob@example.com").await, "the invitation gave no less");
    app.call("users.invite", json!({ "email": "carol@example.com" })).await.unwrap();
    app.clock.advance(7 * DAY);
    assert!(!reset("carol@example.com").await, "it has ended");
    app.call("users.create", json!({ "username": "dave", "email": "dave@example.com" })).await.unwrap();
    assert!(!reset("dave@example.com").await, "nobody has invited him");
}

#[tokio::test]
async fn an_address_that_an_operator_sets_is_not_verified_until_proved_or_said() {
    let app = open().await;
    app.call("users.create", json!({ "username": "ada", "password": PASSWORD, "email": "ada@example.com" }))
        .await
        .unwrap();
    assert_eq!(app.refused("users.verify", json!({ "id": "nobody" })).await, "not_found");
    let verified = app.call("users.verify", json!({ "id": "ada@example.com" })).await.unwrap();
    assert_eq!(verified["email_verified"], true);
    let changed = app.call("users.update", json!({ "id": "ada", "email": "ada@example.org" })).await.unwrap();
    assert_eq!((&changed["email"], &changed["email_verified"]), (&json!("ada@example.org"), &json!(false)));
    let same = app.call("users.verify", json!({ "id": "ada" })).await.unwrap();
    assert_eq!(same["email_verified"], true);
    let same = app.call("users.update", json!({ "id": "ada", "email": "ADA@example.org" })).await.unwrap();
    assert_eq!(same["email_verified"], true, "another spelling is the same mailbox");
}
