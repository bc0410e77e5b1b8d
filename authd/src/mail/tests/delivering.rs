//! Delivery: leases, pauses, what is retried and what is not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::server::{Server, Then};
use super::*;

/// Long enough for the slowest machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A node that delivers.
struct Node {
    mail: Arc<Mail>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Node {
    fn start(mail: &Arc<Mail>) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(mail.clone().deliver(async { stopped.await.unwrap_or_default() }));
        Self { mail: mail.clone(), stop, task }
    }

    /// One of several nodes, whatever the engine.
    fn beside(mail: &Arc<Mail>) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(mail.clone().send_due(async { stopped.await.unwrap_or_default() }));
        Self { mail: mail.clone(), stop, task }
    }

    async fn end(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }

    /// Delivers until this holds.
    async fn until(&self, app: &TestApp, holds: impl Fn(&[serde_json::Value]) -> bool) {
        let waiting = async {
            loop {
                let mails = listed(app).await;
                if holds(&mails) {
                    return;
                }
                self.mail.queued.notify_one();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(TIMEOUT, waiting).await.expect("the mails are delivered");
    }
}

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[tokio::test]
async fn a_connection_that_dies_before_the_answer_leaves_the_mail_and_the_same_one_is_sent_later() {
    let server = Server::start(Then::Die).await;
    let app = TestApp::with(&server.toml()).await;
    write(&app, "ada@example.com", &link()).await;
    let node = Node::start(&app.modules.mail);
    node.until(&app, |mails| mails[0]["error"].is_string()).await;
    let mail = &listed(&app).await[0];
    assert_eq!((mail["state"].as_str(), mail["attempts"].as_i64()), (Some("queued"), Some(1)), "{mail}");
    server.then(Then::Accept);
    app.clock.advance(36 * SECOND);
    node.until(&app, <[_]>::is_empty).await;
    node.end().await;
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(header(&received[0], "Message-ID: "), header(&received[1], "Message-ID: "));
    assert_eq!(header(&received[0], "Date: "), "Fri, 15 Jan 2027 08:00:00 +0000");
    assert_eq!(header(&received[0], "Auto-Submitted: "), "auto-generated");
    assert_eq!(header(&received[0], "From: "), "Auth <auth@example.com>");
    assert_eq!(header(&received[0], "To: "), "ada@example.com");
}

#[tokio::test]
async fn a_mail_refused_for_good_is_shown_at_once_without_what_it_says() {
    let server = Server::start(Then::Answer("554 5.7.1 spam: {}")).await;
    let app = TestApp::with(&server.toml()).await;
    write(&app, "ada@example.com", &link()).await;
    let node = Node::start(&app.modules.mail);
    node.until(&app, |mails| mails[0]["state"] == "failed").await;
    let mail = &listed(&app).await[0];
    let error = mail["error"].as_str().unwrap();
    assert!(error.contains("554") && error.contains("spam: ") && !error.contains("c4n4ry"), "{error}");
    assert_eq!((mail["attempts"].as_i64(), mail.get("next_attempt_at")), (Some(1), Some(&json!(null))));
    // The operator may have it tried again.
    server.then(Then::Accept);
    app.call("mail.retry", json!({ "id": mail["id"] })).await.unwrap();
    node.until(&app, <[_]>::is_empty).await;
    node.end().await;
}

#[tokio::test]
async fn a_refusal_for_now_and_a_server_that_is_down_are_tried_for_two_days() {
    let server = Server::start(Then::Answer("451 later")).await;
    let app = TestApp::with(&server.toml()).await;
    write(&app, "ada@example.com", &Values::default()).await;
    let node = Node::start(&app.modules.mail);
    let mut waited = 0;
    for attempt in 1..=crate::mail::delivery::ATTEMPTS {
        node.until(&app, |mails| mails[0]["attempts"] == attempt && mails[0]["error"].is_string()).await;
        // The last attempt's error stays until the next one ends, so wait for the pause as well.
        let next = |mail: &serde_json::Value| mail["next_attempt_at"].as_str().map(str::to_owned);
        if attempt == crate::mail::delivery::ATTEMPTS {
            break;
        }
        let now = shared::time::Time::from_millis(app.env.now()).to_string();
        node.until(&app, |mails| next(&mails[0]).is_some_and(|at| at > now)).await;
        let at: shared::time::Time = next(&listed(&app).await[0]).unwrap().try_into().unwrap();
        let pause = at.millis() - app.env.now();
        let expected = ((30 * SECOND) << (attempt - 1).min(16)).min(HOUR);
        assert!((expected * 4 / 5..=expected * 6 / 5).contains(&pause), "{attempt}: {pause}");
        waited += pause;
        app.clock.advance(pause);
    }
    assert!((40 * HOUR..=56 * HOUR).contains(&waited), "{waited}");
    node.until(&app, |mails| mails[0]["state"] == "failed").await;
    node.end().await;
}

#[tokio::test]
async fn a_link_that_has_ended_is_not_sent() {
    let server = Server::start(Then::Accept).await;
    let app = TestApp::with(&server.toml()).await;
    write(&app, "late@example.com", &link()).await;
    app.clock.advance(30 * MINUTE);
    write(&app, "ada@example.com", &Values { expires_at: Some(app.env.now() + MINUTE), ..link() }).await;
    let node = Node::start(&app.modules.mail);
    node.until(&app, <[_]>::is_empty).await;
    node.end().await;
    let received = server.received();
    assert_eq!(received.len(), 1);
    assert_eq!(header(&received[0], "To: "), "ada@example.com");
    let metrics = app.modules.metrics.encode();
    for (outcome, count) in [("sent", 1), ("dropped", 1), ("failed", 0)] {
        assert!(metrics.contains(&format!("authd_mails_total{{outcome=\"{outcome}\"}} {count}")), "{metrics}");
    }
}

#[tokio::test]
async fn several_nodes_send_each_mail_once() {
    let server = Server::start(Then::Accept).await;
    let app = TestApp::with(&server.toml()).await;
    for number in 0..24 {
        write(&app, &format!("{number}@example.com"), &Values::default()).await;
    }
    let other = |app: &TestApp| {
        let mut metrics = crate::metrics::Metrics::default();
        Mail::new(&app.base, app.config.mail.clone(), "http://127.0.0.1", &mut metrics).unwrap()
    };
    let nodes = [app.modules.mail.clone(), other(&app), other(&app)].map(|mail| Node::beside(&mail));
    nodes[0].until(&app, <[_]>::is_empty).await;
    for node in nodes {
        node.end().await;
    }
    let received = server.received();
    let to: BTreeSet<&str> = received.iter().map(|text| header(text, "To: ")).collect();
    assert_eq!((received.len(), to.len()), (24, 24));
}

/// So that a kill -9 sends at most one mail twice.
#[tokio::test]
async fn a_node_sends_one_text_at_a_time_until_its_row_is_deleted() {
    let server = Server::start(Then::Wait).await;
    let app = TestApp::with(&server.toml()).await;
    for number in 0..6 {
        write(&app, &format!("{number}@example.com"), &Values::default()).await;
    }
    let node = Node::start(&app.modules.mail);
    for sent in 0..6 {
        timeout(TIMEOUT, server.holds(1)).await.expect("the next text arrives");
        assert_eq!((server.received().len(), listed(&app).await.len()), (sent + 1, 6 - sent));
        server.let_one_go();
        node.until(&app, |mails| mails.len() == 5 - sent).await;
    }
    assert_eq!(server.held(), 0);
    node.end().await;
}

/// Two mails of one node; the server has the text of the first and does not answer.
async fn two_on_the_way() -> (Server, TestApp, Node) {
    let server = Server::start(Then::Wait).await;
    let app = TestApp::with(&server.toml()).await;
    for number in 0..2 {
        write(&app, &format!("{number}@example.com"), &Values::default()).await;
    }
    let node = Node::start(&app.modules.mail);
    timeout(TIMEOUT, server.holds(1)).await.expect("the first text arrives");
    (server, app, node)
}

/// As one that was stopped for a while: a mail whose text it has not begun is another node's by then.
#[tokio::test]
async fn a_node_whose_lease_another_has_sends_nothing() {
    let (server, app, node) = two_on_the_way().await;
    assert!(listed(&app).await.iter().all(|mail| mail["attempts"] == 1), "it has both");
    let longest = crate::mail::delivery::LONGEST;
    app.clock.advance(longest.lease);
    let taken = store::claim(app.base.db.as_ref(), app.env.now(), longest, 4).await.unwrap();
    assert_eq!(taken.len(), 2);
    server.let_one_go();
    node.end().await;
    assert_eq!(server.received().len(), 1, "the second text is never begun");
    let left = listed(&app).await;
    assert!(left.iter().all(|mail| mail["attempts"] == 2 && mail.get("error") == Some(&json!(null))), "{left:?}");
}

/// A server may take its time: the lease is counted from the text.
#[tokio::test]
async fn a_lease_is_taken_anew_before_the_text() {
    let (server, app, node) = two_on_the_way().await;
    let longest = crate::mail::delivery::LONGEST;
    app.clock.advance(longest.lease - 1);
    server.let_one_go();
    node.until(&app, |mails| mails.len() == 1).await;
    timeout(TIMEOUT, server.holds(1)).await.expect("the second text arrives");
    app.clock.advance(longest.lease - 1);
    assert!(store::claim(app.base.db.as_ref(), app.env.now(), longest, 4).await.unwrap().is_empty());
    server.let_one_go();
    node.until(&app, <[_]>::is_empty).await;
    node.end().await;
}

#[tokio::test]
async fn answers_in_plain_text_before_tls_are_not_taken_for_answers_after_it() {
    let server = Server::start(Then::Inject).await;
    let app = TestApp::with(&server.toml().replace("?tls=none", "")).await;
    write(&app, "ada@example.com", &Values::default()).await;
    let node = Node::start(&app.modules.mail);
    node.until(&app, |mails| mails[0]["error"].is_string()).await;
    let mail = &listed(&app).await[0];
    assert!(mail["error"].as_str().unwrap().contains("TLS: received corrupt message"), "{mail}");
    assert_eq!(server.received(), ["[22, 3]"], "a handshake");
    node.end().await;
}
