//! Mail: the real daemon and a real mail server.

use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tests::authd::{Authd, Setup};
use tests::mail::{MailServer, header};
use tests::process::{both, stdout};
use tests::{TIMEOUT, postgres, until};

const FROM: &str = "Example \u{2713} <auth@example.com>";

fn setup(server: &MailServer, url: &str) -> Setup {
    let authority = server.authority().display().to_string();
    Setup::new().env("SMTP_URL", url).env("SMTP_FROM", FROM).env("SSL_CERT_FILE", &authority)
}

/// Sends a test mail: its id.
fn send(authd: &Authd, to: &str) -> String {
    let mail = authd.admin().post("/mails/test", &json!({"to": to})).expect("it answers").expect(201);
    mail["id"].as_str().expect("an id").to_owned()
}

/// What `mail list` shows.
fn listed(authd: &Authd) -> Vec<Value> {
    let answer = authd.admin().get("/mails?limit=1000").expect("it answers").expect(200);
    answer["mails"].as_array().expect("a list").clone()
}

fn wait_until_empty(authd: &Authd) {
    until(TIMEOUT, "an empty queue", || listed(authd).is_empty().then_some(()));
}

#[test]
fn a_mail_is_delivered_by_starttls_and_by_tls_with_the_login() {
    let server = MailServer::start();
    for (url, to) in [(server.url(), "starttls@example.com"), (server.tls_url(), "tls@example.com")] {
        let authd = setup(&server, &url).start();
        let output = authd.authctl(&["mail", "test", to, "--wait"]);
        assert!(stdout(&output).starts_with("Sent "), "{}", both(&output));
        let [mail] = &server.wait_for(to, 1)[..] else { panic!("it came twice") };
        assert_eq!((mail["tls"].as_bool(), mail["login"].as_str()), (Some(true), Some("authd")), "{mail}");
        assert_eq!(mail["defects"], json!([]), "{mail}");
        assert_eq!((mail["from"].as_str(), header(mail, "From")), (Some("auth@example.com"), FROM));
        assert_eq!((header(mail, "To"), header(mail, "Auto-Submitted")), (to, "auto-generated"));
        assert_eq!(header(mail, "Subject"), "Test mail of 127.0.0.1");
        assert!(header(mail, "Message-ID").ends_with("@example.com>"), "{mail}");
        assert!(header(mail, "Date").ends_with(" +0000"), "{mail}");
        for kind in ["text", "html"] {
            assert!(mail[kind].as_str().is_some_and(|text| text.contains("sending mail works")), "{kind}: {mail}");
        }
        assert!(listed(&authd).is_empty());
    }
}

#[test]
fn a_server_that_is_not_who_it_says_gets_neither_login_nor_mail() {
    let server = MailServer::start();
    // The authorities of this machine do not know it.
    let urls = [
        (server.url(), "certificate"),
        (server.tls_url(), "certificate"),
        (server.plain_url().replace("?tls=none", ""), "STARTTLS"),
    ];
    for (url, says) in urls {
        let authd = Setup::new().env("SMTP_URL", &url).env("SMTP_FROM", FROM).start();
        send(&authd, "ada@example.com");
        let mail = until(TIMEOUT, "an attempt", || listed(&authd).into_iter().find(|mail| mail["error"].is_string()));
        assert!(mail["error"].as_str().is_some_and(|error| error.contains(says)), "{mail}");
        assert_eq!(mail["state"], "queued", "it is no fault of the mail");
    }
    // A wrong password is a fault of the settings.
    let authd = setup(&server, &server.url().replace("mail%20pw", "wrong")).start();
    send(&authd, "ada@example.com");
    let mail = until(TIMEOUT, "an attempt", || listed(&authd).into_iter().find(|mail| mail["error"].is_string()));
    assert!(mail["error"].as_str().is_some_and(|error| error.contains("AUTH") && error.contains("535")), "{mail}");
    assert_eq!(mail["state"], "queued");
    assert!(server.mails().is_empty() && !authd.log().contains("wrong%2F"));
}

#[test]
fn a_dead_server_delays_mail_and_loses_none() {
    let mut server = MailServer::stopped();
    let authd = setup(&server, &server.url()).start();
    let sent: Vec<String> = (0..5).map(|number| send(&authd, &format!("{number}@example.com"))).collect();
    until(TIMEOUT, "an attempt at each", || {
        let mails = listed(&authd);
        let tried = |mail: &Value| {
            mail["attempts"] == 1 && mail["error"].as_str().is_some_and(|e| e.starts_with("connecting: "))
        };
        (mails.len() == sent.len() && mails.iter().all(tried)).then_some(())
    });
    server.start_again();
    // Without anybody's help, half a minute later.
    wait_until_empty(&authd);
    let mails = server.mails();
    assert_eq!(mails.len(), 5, "{mails:?}");
    for number in 0..5 {
        assert_eq!(server.wait_for(&format!("{number}@example.com"), 1).len(), 1);
    }
}

#[test]
fn a_refusal_for_good_is_shown_at_once_and_one_for_now_is_tried_later() {
    let server = MailServer::start();
    let authd = setup(&server, &server.url()).start();
    let output = authd.authctl(&["mail", "test", "bounce@example.com", "--wait"]);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(
        both(&output).contains("Not sent: RCPT TO: the mail server answers 550 5.1.1 no such user\n"),
        "{}",
        both(&output)
    );
    let output = authd.authctl(&["mail", "test", "later@example.com", "--wait"]);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let told = both(&output);
    assert!(told.contains("answers 451 4.7.1 greylisted, try again; authd tries again in "), "{told}");
    let list = stdout(&authd.authctl(&["mail", "list"]));
    assert!(list.contains("failed") && list.contains("queued") && list.contains("bounce@example.com"), "{list}");
    for format in ["json", "yaml"] {
        let list = stdout(&authd.authctl(&["mail", "list", "-o", format]));
        assert!(list.contains("550 5.1.1 no such user"), "{list}");
    }
    // A connection that dies between the text and its answer is no answer.
    send(&authd, "die@example.com");
    until(TIMEOUT, "an attempt", || {
        let dead = listed(&authd).into_iter().find(|mail| mail["to"] == "die@example.com")?;
        (dead["error"].is_string() && dead["state"] == "queued").then_some(())
    });
    let retried = stdout(&authd.authctl(&["mail", "retry", "--all"]));
    assert_eq!(retried.lines().count(), 3, "{retried}");
    assert_eq!(server.wait_for("later@example.com", 1).len(), 1);
    assert_eq!(server.wait_for("die@example.com", 1).len(), 1);
    let left = until(TIMEOUT, "the refusal, again", || {
        let mails = listed(&authd);
        (mails.len() == 1 && mails[0]["state"] == "failed").then(|| mails[0].clone())
    });
    let dropped = stdout(&authd.authctl(&["mail", "drop", left["id"].as_str().expect("an id"), "--yes"]));
    assert!(dropped.starts_with("Dropped "), "{dropped}");
    assert!(listed(&authd).is_empty());
    let audit = stdout(&authd.authctl(&["audit"]));
    assert!(["mail.test", "mail.retry", "mail.drop"].iter().all(|action| audit.contains(action)), "{audit}");
}

#[test]
fn kill_9_loses_no_mail_and_sends_at_most_one_twice() {
    let server = MailServer::start();
    let mut authd = setup(&server, &server.plain_url()).start();
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        // Another moment in each round: with few mails on the way, or with many.
        let before = server.mails().len();
        for number in 0..20 {
            let to = format!("{round}-{number}@example.com");
            send(&authd, &to);
            acknowledged.push(to);
            if number >= 5 && server.mails().len() > before + round {
                break;
            }
        }
        authd.kill();
        authd.start_again();
        wait_until_empty(&authd);
        let mut counts: BTreeMap<String, usize> = acknowledged.iter().map(|to| (to.clone(), 0)).collect();
        for mail in server.mails() {
            *counts.entry(mail["to"].as_str().expect("an address").to_owned()).or_default() += 1;
        }
        let lost: Vec<_> = counts.iter().filter(|(_, count)| **count == 0).collect();
        let twice: usize = counts.values().map(|count| count.saturating_sub(1)).sum();
        assert!(lost.is_empty() && twice <= round + 1, "round {round}: lost {lost:?}, twice {twice}");
    }
}

#[test]
fn an_orderly_stop_waits_for_the_mail_on_the_way() {
    let server = MailServer::start();
    let mut authd = setup(&server, &server.plain_url()).start();
    send(&authd, "slow@example.com");
    until(TIMEOUT, "an attempt", || (listed(&authd)[0]["attempts"] == 1).then_some(()));
    authd.process().signal(Signal::TERM);
    authd.process().stop(TIMEOUT);
    assert_eq!(server.wait_for("slow@example.com", 1).len(), 1);
    authd.start_again();
    wait_until_empty(&authd);
    assert_eq!(server.mails().len(), 1, "it was recorded");
}

#[test]
fn two_nodes_on_postgresql_send_each_mail_once() {
    let server = MailServer::start();
    let (database, key) = (postgres::database(), "0123456789abcdef".repeat(4));
    let node = || setup(&server, &server.plain_url()).database(&database).env("AUTHD_ROOT_KEY", &key).start();
    let first = node();
    let second = node();
    std::thread::scope(|scope| {
        for (name, node) in [("first", &first), ("second", &second)] {
            scope.spawn(move || (0..20).for_each(|number| drop(send(node, &format!("{name}-{number}@example.com")))));
        }
    });
    wait_until_empty(&first);
    let mut to: Vec<String> =
        server.mails().iter().map(|mail| mail["to"].as_str().expect("a text").to_owned()).collect();
    to.sort();
    let count = to.len();
    to.dedup();
    assert_eq!((count, to.len()), (40, 40));
}

#[test]
fn headers_cannot_be_injected_by_address_or_sender() {
    let server = MailServer::start();
    let authd = setup(&server, &server.plain_url()).start();
    for to in [
        "ada@example.com\r\nBcc: eve@example.com",
        "ada@example.com\nSubject: x",
        "ada@example.com>\r\nRCPT TO:<eve@example.com",
        "\"ada\r\nBcc: eve\"@example.com",
        "ada@example.com, eve@example.com",
        "ada@example.com\u{2028}Bcc: eve@example.com",
    ] {
        let answer = authd.admin().post("/mails/test", &json!({"to": to})).expect("it answers");
        assert_eq!((answer.status, answer.json()["error"].as_str()), (422, Some("validation_failed")), "{to:?}");
    }
    for from in ["Ada\r\nBcc: eve@example.com <auth@example.com>", "auth@example.com\r\nBcc: eve@example.com"] {
        let output = Setup::new().env("SMTP_URL", &server.plain_url()).env("SMTP_FROM", from).run(&["check"]);
        assert_eq!(output.status.code(), Some(2), "{from:?}: {}", both(&output));
    }
    // What could be read as more than an address stays one recipient.
    send(&authd, "o'hara!#$%&*+-/=?^_`{|}~@example.com");
    send(&authd, "Zoë@bücher.example");
    assert_eq!(
        header(&server.wait_for("o'hara!#$%&*+-/=?^_`{|}~@example.com", 1)[0], "To"),
        "o'hara!#$%&*+-/=?^_`{|}~@example.com"
    );
    assert_eq!(header(&server.wait_for("Zoë@xn--bcher-kva.example", 1)[0], "To"), "Zoë@xn--bcher-kva.example");
    assert_eq!(server.mails().len(), 2);
}

#[test]
fn an_operators_template_is_used_and_a_broken_one_is_refused_by_name_and_line() {
    let server = MailServer::start();
    let folder = tests::folder("templates");
    let toml = format!("[mail]\ntemplates = \"{}\"\n", folder.path().display());
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it is ours");
    write("test.txt", "Grüße from {{ product }}\n\nOur own words.\n");
    let authd = setup(&server, &server.plain_url()).toml(&toml).start();
    send(&authd, "ada@example.com");
    let mail = &server.wait_for("ada@example.com", 1)[0];
    assert_eq!((header(mail, "Subject"), mail["text"].as_str()), ("Grüße from 127.0.0.1", Some("Our own words.")));
    assert!(mail["html"].as_str().is_some_and(|html| html.contains("sending mail works")), "the other file stays");
    drop(authd);
    for (name, text, says) in [
        ("reset.txt", "Reset\n\n{{ link }\n", "reset.txt, line 3: "),
        ("layout.html", "<html>\n{{ nobody }}", "layout.html, line 2: undefined value"),
        ("tests.txt", "x\n\ny\n", "tests.txt is no template; did you mean test.txt?"),
    ] {
        write(name, text);
        let setup = setup(&server, &server.plain_url()).toml(&toml);
        for args in [&["check"][..], &[]] {
            let output = setup.run(args);
            assert!(!output.status.success() && both(&output).contains(says), "{name}: {}", both(&output));
        }
        std::fs::remove_file(folder.path().join(name)).expect("it is there");
    }
}

#[test]
fn a_full_queue_is_refused() {
    let server = MailServer::stopped();
    let authd = setup(&server, &server.plain_url()).toml("[mail]\nmax_queued = 3\n").start();
    for number in 0..3 {
        send(&authd, &format!("{number}@example.com"));
    }
    let answer = authd.admin().post("/mails/test", &json!({"to": "3@example.com"})).expect("it answers");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("60")), "{}", answer.text());
    assert_eq!(listed(&authd).len(), 3);
}

#[test]
fn dev_prints_mails_and_is_refused_where_others_could_cause_them() {
    let mut authd = Authd::start();
    let answer = authd.admin().post("/mails/test", &json!({"to": "ada@example.com"})).expect("it answers");
    assert!(answer.status == 409 && answer.text().contains("SMTP_URL"), "{}", answer.text());
    authd.start_again_once(&["--dev"]);
    assert!(authd.log().contains("mails are printed here instead of being sent"), "{}", authd.log());
    send(&authd, "ada@example.com");
    until(TIMEOUT, "the mail", || authd.log().contains("Mail to ada@example.com\nSubject: Test mail").then_some(()));
    wait_until_empty(&authd);
    assert!(authd.log().contains("sending mail works"), "{}", authd.log());
    let server = MailServer::stopped();
    for (setup, says) in [
        (setup(&server, &server.url()), "which of the two"),
        (Setup::new().env("SERVER_ADDR", "0.0.0.0:8443"), "this machine alone"),
        (Setup::new().env("AUTHD_PUBLIC_URL", "https://auth.example.com"), "this machine alone"),
    ] {
        let output = setup.run(&["check", "--dev"]);
        assert!(output.status.code() == Some(2) && both(&output).contains(says), "{}", both(&output));
    }
}

#[test]
fn what_cannot_be_meant_is_refused_and_what_is_not_private_is_warned_of() {
    let check = |url: &str, from: &str| both(&Setup::new().env("SMTP_URL", url).env("SMTP_FROM", from).run(&["check"]));
    for (url, from, says) in [
        ("smtp://mail.example.com", "", "mail.from (SMTP_FROM) is missing"),
        ("smtp://mail.example.com", "nobody", "SMTP_FROM"),
        ("mail.example.com:25", FROM, "SMTP_URL): it is not of the form smtp://"),
        ("smtp://a:c4n4ry/@mail.example.com", FROM, "percent-encoded"),
        ("smtp://mail.example.com?tls=none", FROM, "warning: mail.smtp_url (SMTP_URL): mails and their links pass"),
    ] {
        let told = check(url, from);
        assert!(told.contains(says) && !told.contains("c4n4ry"), "{told}");
    }
    let told = check("smtps://authd:c4n4ry@mail.example.com", FROM);
    assert!(
        told.contains("smtp_url = \"[redacted]\"") && !told.contains("c4n4ry") && !told.contains("warning"),
        "{told}"
    );
    assert!(!check("smtp://127.0.0.1:25?tls=none", FROM).contains("warning"), "it stays on this machine");
}
