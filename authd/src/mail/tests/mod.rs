//! Mail through the registry and the delivery, with a mail server of few words. A real one is met in the crate `tests`.

mod delivering;
mod server;

use serde_json::{Value, json};
use shared::email::Email;
use shared::id::MailId;
use shared::secret::Secret;

use super::{MOST_NOTICES, Mail, Template, Values, store};
use crate::db::{Batch, Query, Statement};
use crate::env::{DAY, HOUR, MINUTE, SECOND};
use crate::ledger::Change;
use crate::testing::{NOW, TestApp};

const TOML: &str = "[mail]\nsmtp_url = \"smtp://127.0.0.1:1?tls=none\"\nfrom = \"auth@example.com\"\n";

fn link() -> Values {
    Values {
        link: Some(Secret::new("http://127.0.0.1/reset#l1nk-c4n4ry")),
        token: Some(Secret::new("t0k3n-c4n4ry")),
        name: Some("Ada".into()),
        address: Some([192, 0, 2, 1].into()),
        expires_at: Some(NOW + 30 * MINUTE),
    }
}

/// Writes a mail as another module does.
async fn write(app: &TestApp, to: &str, values: &Values) {
    let mail = &app.modules.mail;
    let statement = mail.message(Template::Reset, &Email::parse(to).unwrap(), values).unwrap();
    let change = Change::new("test", to).with([statement]).self_proving();
    app.base.ledger.commit(&app.anonymous(), change).await.unwrap();
}

/// The mails, as an operator sees them.
async fn listed(app: &TestApp) -> Vec<Value> {
    app.call("mail.list", json!({})).await.unwrap()["mails"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_mail_exists_exactly_if_its_change_was_committed() {
    let app = TestApp::with(TOML).await;
    let mail = &app.modules.mail;
    let to = Email::parse("ada@example.com").unwrap();
    let failing = Statement::exists("nobody", "SELECT 1 FROM users WHERE id = $1", ["x".into()]);
    let statement = mail.message(Template::Reset, &to, &link()).unwrap();
    let change = Change::new("test", "x").with([statement, failing]).self_proving();
    app.base.ledger.commit(&app.anonymous(), change).await.unwrap_err();
    assert!(listed(&app).await.is_empty());
    write(&app, "ada@example.com", &link()).await;
    assert_eq!(listed(&app).await.len(), 1);
}

#[tokio::test]
async fn what_a_mail_says_is_sealed_and_in_no_answer() {
    let app = TestApp::with(TOML).await;
    write(&app, "ada@example.com", &link()).await;
    let rows = app.base.db.query(Query::new("SELECT * FROM mails", [])).await.unwrap();
    let id = rows[0].cursor().string().unwrap();
    let stored = format!("{:?} {}", rows[0], String::from_utf8_lossy(rows[0].0.iter().find_map(bytes).unwrap()));
    let shown = app.call("mail.show", json!({ "id": id })).await.unwrap();
    assert_eq!((shown["to"].as_str(), shown["template"].as_str()), (Some("ada@example.com"), Some("reset")));
    for text in [stored, shown.to_string(), listed(&app).await[0].to_string(), format!("{:?}", link())] {
        assert!(!text.contains("c4n4ry"), "{text}");
    }
}

fn bytes(value: &crate::db::Value) -> Option<&[u8]> {
    if let crate::db::Value::Bytes(bytes) = value { Some(bytes) } else { None }
}

#[tokio::test]
async fn people_can_cause_so_many_mails_an_hour() {
    let limits = "per_hour = 12\nper_address_per_hour = 3\nper_network_per_hour = 5\n";
    let app = TestApp::with(&format!("{TOML}{limits}")).await;
    let admit = async |to: &str, network: u8| {
        let address = (network > 0).then(|| [192, 0, network, 1].into());
        app.modules.mail.admit(to, address).await.map_err(|error| (error.code.as_str(), error.retry_after))
    };
    let limited = Err(("rate_limited", Some(3_601)));
    for number in 0..5 {
        assert_eq!(admit(&format!("{number}@example.com"), 1).await, Ok(()));
    }
    assert_eq!(admit("5@example.com", 1).await, limited, "from one network");
    for number in 0..6 {
        assert_eq!(admit("ada@example.com", 2 + number).await.is_ok(), number < 3, "to one address: {number}");
    }
    // What the address refused does not count in all: 8 of 12 so far.
    for number in 0..6 {
        assert_eq!(admit(&format!("in-all-{number}@example.com"), 20 + number).await.is_ok(), number < 4, "{number}");
    }
    assert_eq!(
        admit("invited@example.com", 0).await,
        Ok(()),
        "an operator is not bounded by what people have asked for"
    );
    app.clock.advance(HOUR);
    assert_eq!(admit("ada@example.com", 1).await, Ok(()));
}

#[tokio::test]
async fn a_full_queue_holds_no_more_and_says_so() {
    let app = TestApp::with(&format!("{TOML}max_queued = 2\n")).await;
    for number in 0..2 {
        app.call("mail.test", json!({ "to": format!("{number}@example.com") })).await.unwrap();
    }
    let error = app.call("mail.test", json!({ "to": "2@example.com" })).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.retry_after), ("unavailable", Some(60)));
    let error = app.modules.mail.admit("2@example.com", None).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.retry_after), ("unavailable", Some(60)));
    assert_eq!(listed(&app).await.len(), 2);
}

#[tokio::test]
async fn what_other_nodes_queue_and_send_counts_some_seconds_later() {
    let app = TestApp::with(&format!("{TOML}max_queued = 2\n")).await;
    let is_admitted = async || app.modules.mail.admit("ada@example.com", None).await.is_ok();
    assert!(is_admitted().await);
    let of_another_node = |to| {
        let id = MailId(app.base.env.uuid());
        let mail = store::NewMail { id, template: Template::Test, to, sealed: Vec::new(), expires_at: None };
        (id, store::insert(mail, app.base.now()))
    };
    let (first, insert_first) = of_another_node("0@example.com");
    let (_, insert_second) = of_another_node("1@example.com");
    app.base.db.commit(vec![insert_first, insert_second]).await.unwrap();
    assert!(is_admitted().await);
    app.clock.advance(5 * SECOND);
    assert!(!is_admitted().await);
    app.base.db.commit(vec![store::drop(first, app.base.now(), 0)]).await.unwrap();
    assert!(!is_admitted().await);
    app.clock.advance(SECOND);
    assert!(is_admitted().await);
}

#[tokio::test]
async fn a_notice_has_room_in_a_full_queue_and_is_left_out_when_even_that_is_full() {
    let app = TestApp::with(&format!("{TOML}max_queued = 1\n")).await;
    let mail = &app.modules.mail;
    write(&app, "0@example.com", &Values::default()).await;
    let to = Email::parse("ada@example.com").unwrap();
    let notice = || mail.notice(Template::PasswordChanged, &to, None);
    let more = |count: u32| -> Batch {
        (0..count).map(|_| mail.message(Template::Test, &to, &Values::default()).unwrap()).collect()
    };
    app.base.db.commit(more(MOST_NOTICES - 1)).await.unwrap();
    app.base.db.commit(vec![notice().await.unwrap().unwrap()]).await.unwrap();
    assert!(notice().await.unwrap().is_none());
    assert!(app.modules.metrics.encode().contains("authd_mails_total{outcome=\"dropped\"} 1"));
}

/// On PostgreSQL, transactions that read what others write are repeated one after the other.
#[tokio::test]
async fn what_writes_a_mail_reads_no_other() {
    let app = TestApp::with(TOML).await;
    let to = Email::parse("ada@example.com").unwrap();
    let statement = app.modules.mail.message(Template::Test, &to, &Values::default()).unwrap();
    assert!(statement.sql.starts_with("INSERT INTO mails ") && !statement.sql.contains("SELECT"), "{}", statement.sql);
}

#[tokio::test]
async fn without_a_mail_server_what_needs_one_says_what_to_set() {
    let app = TestApp::new().await;
    let error = app.call("mail.test", json!({ "to": "ada@example.com" })).await.unwrap_err();
    assert!(error.code.status() == 409 && error.detail.contains("SMTP_URL"), "{}", error.detail);
    assert!(!app.modules.mail.is_configured());
}

#[tokio::test]
async fn a_header_cannot_be_injected_by_an_address() {
    let app = TestApp::with(TOML).await;
    for to in ["ada@example.com\r\nBcc: eve@example.com", "ada@example.com>\r\nRCPT TO:<eve@example.com"] {
        assert_eq!(app.refused("mail.test", json!({ "to": to })).await, "validation_failed");
    }
    assert!(listed(&app).await.is_empty());
}

#[tokio::test]
async fn a_mail_that_is_being_sent_is_neither_retried_nor_dropped() {
    let app = TestApp::with(TOML).await;
    write(&app, "ada@example.com", &Values::default()).await;
    let id = listed(&app).await[0]["id"].clone();
    let longest = super::delivery::LONGEST;
    let claimed = store::claim(app.base.db.as_ref(), NOW, longest, 4).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert!(store::claim(app.base.db.as_ref(), NOW, longest, 4).await.unwrap().is_empty(), "one node has it");
    for operation in ["mail.retry", "mail.drop"] {
        assert_eq!(app.refused(operation, json!({ "id": id })).await, "conflict");
    }
    // A node that was killed has it no longer than its lease.
    app.clock.advance(longest.lease);
    let again = store::claim(app.base.db.as_ref(), app.env.now(), longest, 4).await.unwrap();
    assert_eq!((again.len(), again[0].attempts), (1, 2));
    app.base.db.commit(store::delete(&claimed[0])).await.unwrap();
    assert_eq!(listed(&app).await.len(), 1, "the end of an old lease is not that of the mail");
    app.clock.advance(longest.lease);
    app.call("mail.drop", json!({ "id": id })).await.unwrap();
    for operation in ["mail.retry", "mail.drop", "mail.show"] {
        assert_eq!(app.refused(operation, json!({ "id": id })).await, "not_found");
    }
}

#[tokio::test]
async fn mails_are_swept() {
    let app = TestApp::with(TOML).await;
    let db = app.base.db.as_ref();
    write(&app, "failed@example.com", &Values::default()).await;
    let claimed = store::claim(db, NOW, super::delivery::LONGEST, 1).await.unwrap();
    let failed = shared::api::mail::MailState::Failed;
    db.commit(store::put_back(&claimed[0], failed, NOW, "550")).await.unwrap();
    app.clock.advance(SECOND);
    write(&app, "waits@example.com", &Values::default()).await;
    let left = async |days: i64| {
        let now = NOW + days * DAY;
        crate::db::sweep::expired(db, store::SWEEP_FAILED, store::failed_end(db, now).await.unwrap(), 10)
            .await
            .unwrap();
        crate::db::sweep::expired(db, store::SWEEP, now - store::KEPT, 10).await.unwrap();
        listed(&app).await.len()
    };
    assert_eq!((left(6).await, left(7).await, left(14).await, left(15).await), (2, 1, 1, 0));
}
