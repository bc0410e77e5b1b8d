//! Sign-up and invitations: how an account begins, and what a mailed link is good for.

use serde_json::json;
use shared::problem::Reason;

use super::*;
use crate::db::Statement;

#[tokio::test]
async fn an_account_begins_with_the_mailed_token_and_a_password() {
    let app = open().await;
    let answer = ask(&app, "accounts.sign_up", json!({ "email": "Ada@Example.com" })).await.unwrap();
    assert_eq!(answer, json!({ "status": "mail_requested" }));
    let (mail, token) = last(&app, "sign_up").await;
    assert_eq!(mail.to, "Ada@example.com");
    let link = mail.values.link.unwrap();
    assert_eq!(link.expose(), format!("{}/account/verify#{token}", app.config.server.public_url));
    let verify = json!({ "token": token, "password": PASSWORD, "name": "Ada L." });
    let logged_in = ask(&app, "accounts.verify_sign_up", verify.clone()).await.unwrap();
    assert_eq!(
        (&logged_in["payload"]["username"], &logged_in["payload"]["name"]),
        (&json!("Ada@example.com"), &json!("Ada L."))
    );
    assert_eq!(refused(&app, "accounts.verify_sign_up", verify).await, "invalid_token", "a link works once");
    let user = app.call("users.show", json!({ "id": "ada@EXAMPLE.com" })).await.unwrap();
    assert_eq!((&user["email"], &user["email_verified"]), (&json!("Ada@example.com"), &json!(true)));
    log_in(&app, " ada@example.com ", PASSWORD).await.unwrap();
    app.caller(logged_in["token"].as_str().unwrap()).await.unwrap();
}

#[tokio::test]
async fn an_address_in_many_spellings_is_one_account_and_its_mailbox_is_told() {
    let app = open().await;
    sign_up(&app, "ada@bücher.example").await;
    for spelling in
        ["ADA@bücher.example", "ada@xn--bcher-kva.example", "ａda@BÜCHER.example", "Ada@Bu\u{308}cher.example"]
    {
        let answer = ask(&app, "accounts.sign_up", json!({ "email": spelling })).await.unwrap();
        assert_eq!(answer, json!({ "status": "mail_requested" }), "{spelling}");
        let (mail, token) = last(&app, "sign_up_known").await;
        assert_eq!(mail.to, "ada@xn--bcher-kva.example", "{spelling}");
        let nothing = json!({ "token": token, "password": NEW });
        assert_eq!(refused(&app, "accounts.verify_sign_up", nothing).await, "invalid_token", "{spelling}");
        log_in(&app, spelling, PASSWORD).await.unwrap();
    }
    let users = app.call("users.list", json!({})).await.unwrap();
    assert_eq!(users["users"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn known_and_unknown_addresses_cost_the_same_answer_rows_and_commit() {
    let app = open().await;
    sign_up(&app, "ada@example.com").await;
    let unproved = json!({ "username": "carol", "password": PASSWORD, "email": "carol@example.com" });
    app.call("users.create", unproved).await.unwrap();
    let count = async || {
        let sql = "SELECT (SELECT COUNT(*) FROM mails) || ' ' || (SELECT COUNT(*) FROM links) || ' ' || \
             (SELECT COUNT(*) FROM audit) || ' ' || (SELECT SUM(LENGTH(sealed)) FROM mails)";
        app.base.db.query(Query::new(sql, [])).await.unwrap()[0].cursor().string().unwrap()
    };
    let dora = caller(&app, &sign_up(&app, "dora@example.com").await).await;
    for (who, operation) in [
        (Caller::Anonymous, "accounts.sign_up"),
        (Caller::Anonymous, "accounts.request_reset"),
        (dora, "accounts.change_email"),
    ] {
        let mut seen = Vec::new();
        for email in ["ada@example.com", "bob@example.com", "carol@example.com"] {
            let before = count().await;
            let reads = app.db_reads();
            let mut fields = json!({ "email": email });
            if operation == "accounts.change_email" {
                fields["password"] = json!(PASSWORD);
            }
            let answer = app.call_as(who.clone(), operation, fields).await.unwrap();
            let reads = app.db_reads() - reads;
            let added: Vec<i64> = count()
                .await
                .split(' ')
                .zip(before.split(' '))
                .map(|(after, before)| after.parse::<i64>().unwrap() - before.parse::<i64>().unwrap())
                .collect();
            seen.push((answer, added, reads));
        }
        let sizes: Vec<i64> = seen.iter_mut().map(|(_, added, _)| added.pop().unwrap()).collect();
        assert!(seen.iter().all(|one| *one == seen[0]), "{operation}: {seen:?}");
        assert_eq!(seen[0].1, [1, 1, 1], "{operation}");
        // Addresses are of different lengths; with a link and without is another matter.
        assert!(sizes.iter().all(|size| (size - sizes[0]).abs() < sizes[0] / 4), "{operation}: bytes {sizes:?}");
    }
    assert!(queued(&app.base).await.iter().all(|mail| mail.template != "reset" || mail.to == "ada@example.com"));
}

#[tokio::test]
async fn who_may_sign_up_is_said_by_the_configuration_alone() {
    let closed = TestApp::with(MAIL).await;
    assert_eq!(refused(&closed, "accounts.sign_up", json!({ "email": "ada@example.com" })).await, "forbidden");
    let by_domain =
        TestApp::with(&format!("{MAIL}[accounts]\nsign_up = \"domain\"\ndomains = [\"Example.com\"]\n")).await;
    for other in ["ada@example.org", "ada@sub.example.com", "ada@example.com.example.org"] {
        assert_eq!(refused(&by_domain, "accounts.sign_up", json!({ "email": other })).await, "forbidden");
    }
    sign_up(&by_domain, "ada@EXAMPLE.com").await;
    let invited = TestApp::with(&format!("{MAIL}[accounts]\nsign_up = \"invitation\"\n")).await;
    assert_eq!(refused(&invited, "accounts.sign_up", json!({ "email": "ada@example.com" })).await, "forbidden");
    let without_mail = TestApp::with("[accounts]\nsign_up = \"open\"\n").await;
    assert_eq!(refused(&without_mail, "accounts.sign_up", json!({ "email": "ada@example.com" })).await, "conflict");
}

#[tokio::test]
async fn a_link_works_once_for_half_an_hour_and_for_one_thing() {
    let app = open().await;
    sign_up(&app, "ada@example.com").await;
    ask(&app, "accounts.request_reset", json!({ "email": "ada@example.com" })).await.unwrap();
    let (_, reset) = last(&app, "reset").await;
    ask(&app, "accounts.sign_up", json!({ "email": "bob@example.com" })).await.unwrap();
    let (_, verify) = last(&app, "sign_up").await;
    let with = |token: &str| json!({ "token": token, "password": NEW });
    assert_eq!(refused(&app, "accounts.verify_sign_up", with(&reset)).await, "invalid_token");
    assert_eq!(refused(&app, "accounts.confirm_reset", with(&verify)).await, "invalid_token");
    assert_eq!(refused(&app, "accounts.confirm_email", json!({ "token": reset })).await, "invalid_token");
    let middle = verify.len() / 2;
    let tampered = format!(
        "{}{}{}",
        &verify[..middle],
        if &verify[middle..=middle] == "A" { "B" } else { "A" },
        &verify[middle + 1..]
    );
    for nonsense in ["", "x", "a.b.c", &tampered, &verify[..verify.len() - 4]] {
        assert_eq!(refused(&app, "accounts.verify_sign_up", with(nonsense)).await, "invalid_token", "{nonsense}");
    }
    // A weak password uses nothing up.
    assert_eq!(
        refused(&app, "accounts.verify_sign_up", json!({ "token": verify, "password": "short" })).await,
        "validation_failed"
    );
    app.clock.advance(30 * MINUTE - SECOND);
    ask(&app, "accounts.verify_sign_up", with(&verify)).await.unwrap();
    app.clock.advance(SECOND);
    assert_eq!(refused(&app, "accounts.confirm_reset", with(&reset)).await, "invalid_token");
}

#[tokio::test]
async fn of_two_uses_of_a_link_at_once_one_wins() {
    let app = open().await;
    ask(&app, "accounts.sign_up", json!({ "email": "ada@example.com" })).await.unwrap();
    let (_, token) = last(&app, "sign_up").await;
    let verify =
        || app.later_as(Caller::Anonymous, "accounts.verify_sign_up", json!({ "token": token, "password": PASSWORD }));
    let (first, second) = tokio::join!(tokio::spawn(verify()), tokio::spawn(verify()));
    let won = [first.unwrap().is_ok(), second.unwrap().is_ok()];
    assert_ne!(won[0], won[1], "{won:?}");
}

#[tokio::test]
async fn of_two_links_for_one_address_the_second_account_is_refused() {
    let app = open().await;
    ask(&app, "accounts.sign_up", json!({ "email": "ada@example.com" })).await.unwrap();
    let (_, first) = last(&app, "sign_up").await;
    ask(&app, "accounts.sign_up", json!({ "email": "ADA@example.com" })).await.unwrap();
    let (_, second) = last(&app, "sign_up").await;
    ask(&app, "accounts.verify_sign_up", json!({ "token": first, "password": PASSWORD })).await.unwrap();
    assert_eq!(
        refused(&app, "accounts.verify_sign_up", json!({ "token": second, "password": NEW })).await,
        "name_taken"
    );
    log_in(&app, "ada@example.com", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_name_that_was_guessed_at_before_it_was_anybodys_is_not_locked() {
    let app = open().await;
    for _ in 0..10 {
        log_in(&app, "ada@example.com", "a wrong password").await.unwrap_err();
    }
    sign_up(&app, "ada@example.com").await;
    log_in(&app, "ada@example.com", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn an_invited_person_sets_the_password_and_keeps_what_was_granted() {
    let app = TestApp::with(MAIL).await;
    let invite = json!({ "email": "ada@example.com", "username": "ada", "name": "Ada L." });
    let user = app.call("users.invite", invite.clone()).await.unwrap();
    assert_eq!((&user["email_verified"], &user["has_password"]), (&json!(false), &json!(false)));
    let (mail, first) = last(&app, "invitation").await;
    assert_eq!((mail.to.as_str(), mail.values.name.as_deref()), ("ada@example.com", Some("Ada L.")));
    assert_eq!(app.refused("users.invite", invite).await, "name_taken");
    // The mail was lost: another one, and the first link ends.
    app.call("users.invite", json!({ "email": "ada@example.com" })).await.unwrap();
    let (_, second) = last(&app, "invitation").await;
    let with = |token: &str| json!({ "token": token, "password": PASSWORD });
    assert_eq!(refused(&app, "accounts.verify_sign_up", with(&first)).await, "invalid_token");
    app.clock.advance(6 * DAY);
    let logged_in = ask(&app, "accounts.verify_sign_up", with(&second)).await.unwrap();
    assert_eq!(logged_in["payload"]["user_id"], user["id"]);
    log_in(&app, "ada", PASSWORD).await.unwrap();
    assert_eq!(app.refused("users.invite", json!({ "email": "ada@example.com" })).await, "name_taken");
}

#[tokio::test]
async fn what_a_sign_up_writes_is_swept() {
    let app = open().await;
    ask(&app, "accounts.sign_up", json!({ "email": "ada@example.com" })).await.unwrap();
    let sql = "SELECT outcome FROM audit WHERE action = 'accounts.sign_up'";
    let rows = app.base.db.query(Query::new(sql, [])).await.unwrap();
    assert_eq!(rows[0].cursor().text().unwrap(), "requested", "as refusals, which are kept for 90 days");
    let links = async || {
        let sweep = Statement::any("sweep", crate::accounts::SWEEP_LINKS, [app.base.now().into(), 10.into()]);
        app.base.db.commit(vec![sweep]).await.unwrap();
        let rows = app.base.db.query(Query::new("SELECT COUNT(*) FROM links", [])).await.unwrap();
        rows[0].cursor().int().unwrap()
    };
    app.clock.advance(30 * MINUTE - 1);
    assert_eq!(links().await, 1);
    app.clock.advance(MINUTE);
    assert_eq!(links().await, 0);
}

#[tokio::test]
async fn every_request_for_a_mail_counts_against_the_limit_of_its_address() {
    let mail = MAIL.replace("per_address_per_hour = 100", "per_address_per_hour = 1");
    let app = TestApp::with(&format!("{mail}[accounts]\nsign_up = \"open\"\n")).await;
    let ada = sign_up(&app, "ada@example.com").await;
    for (operation, email) in [("accounts.request_reset", "bob@example.com"), ("accounts.sign_up", "carol@example.com")]
    {
        let ask = json!({ "email": email });
        super::ask(&app, operation, ask.clone()).await.unwrap();
        assert_eq!(refused(&app, operation, ask).await, "rate_limited", "{operation}");
    }
    let change = json!({ "email": "dave@example.com", "password": PASSWORD });
    let by_ada = async || app.call_as(caller(&app, &ada).await, "accounts.change_email", change.clone()).await;
    by_ada().await.unwrap();
    assert_eq!(by_ada().await.unwrap_err().code.as_str(), "rate_limited");
    let invite = json!({ "email": "erin@example.com" });
    app.call("users.invite", invite.clone()).await.unwrap();
    assert_eq!(app.call("users.invite", invite).await.unwrap_err().code.as_str(), "rate_limited");
}

#[tokio::test]
async fn a_token_is_not_accepted_for_another_address() {
    let app = open().await;
    ask(&app, "accounts.sign_up", json!({ "email": "ada@example.com" })).await.unwrap();
    let (_, token) = last(&app, "sign_up").await;
    let verify = |email: &str| json!({ "token": token, "email": email, "password": PASSWORD });
    assert_eq!(refused(&app, "accounts.verify_sign_up", verify("eve@example.com")).await, "invalid_token");
    ask(&app, "accounts.verify_sign_up", verify("ADA@example.com")).await.unwrap();
    ask(&app, "accounts.request_reset", json!({ "email": "ada@example.com" })).await.unwrap();
    let (_, token) = last(&app, "reset").await;
    let reset = |email: &str| json!({ "token": token, "email": email, "password": NEW });
    assert_eq!(refused(&app, "accounts.confirm_reset", reset("eve@example.com")).await, "invalid_token");
    ask(&app, "accounts.confirm_reset", reset("Ada@Example.com")).await.unwrap();
}

#[tokio::test]
async fn who_holds_a_mailed_token_cannot_have_passwords_hashed_again_and_again() {
    let app = open().await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        ask(&app, "accounts.sign_up", json!({ "email": "ada@example.com" })).await.unwrap();
        tokens.push(last(&app, "sign_up").await.1);
    }
    let verify = |token: &str| json!({ "token": token, "password": PASSWORD });
    ask(&app, "accounts.verify_sign_up", verify(&tokens[0])).await.unwrap();
    assert_eq!(refused(&app, "accounts.verify_sign_up", verify(&tokens[1])).await, "name_taken");
    // A reset to the current password is a guess at it: counted, and in the audit log.
    ask(&app, "accounts.request_reset", json!({ "email": "ada@example.com" })).await.unwrap();
    let (_, token) = last(&app, "reset").await;
    let same = json!({ "token": token, "password": PASSWORD });
    let error = ask(&app, "accounts.confirm_reset", same).await.unwrap_err();
    assert_eq!(error.fields[0].reason, Some(Reason::Unchanged));
    let sql = "SELECT MAX(failures) FROM login_attempts";
    assert_eq!(app.base.db.query(Query::new(sql, [])).await.unwrap()[0].cursor().int().unwrap(), 1);
    let sql = "SELECT COUNT(*) FROM audit WHERE action = 'accounts.confirm_reset' AND outcome = 'refused'";
    assert_eq!(app.base.db.query(Query::new(sql, [])).await.unwrap()[0].cursor().int().unwrap(), 1);
}
