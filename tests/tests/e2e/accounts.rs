//! Accounts that people own, over HTTP with a real mailbox between, on both engines.

mod client;
mod timing;

use crate::totp::oathtool;
use serde_json::{Value, json};
use std::time::Duration;
use tests::authd::{Authd, Setup};
use tests::browser::Visit;
use tests::mail::MailServer;
use tests::process::stdout;
use tests::{TIMEOUT, rig, until};

const MINUTES: Duration = Duration::from_secs(600);

const PASSWORD: &str = "correct horse battery staple";
const NEW: &str = "another horse battery staple";
const ADA: &str = "ada@example.com";

fn setup(server: &MailServer) -> Setup {
    let toml = "[mail]\nper_address_per_hour = 100\n[accounts]\nsign_up = \"open\"\n";
    Setup::new().toml(toml).env("SMTP_URL", &server.plain_url()).env("SMTP_FROM", "auth@example.com")
}

#[track_caller]
fn post(authd: &Authd, path: &str, body: &Value, status: u16) -> Value {
    authd.http().post(path, body).expect("it answers").expect(status)
}

/// The token of the mail to this address whose link opens this page.
pub fn mailed(server: &MailServer, to: &str, page: &str) -> String {
    let link = until(TIMEOUT, &format!("a mail to {to} with a link to {page}"), || {
        let mails = server.mails().into_iter().filter(|mail| mail["to"] == to);
        let texts = mails.filter_map(|mail| mail["text"].as_str().map(str::to_owned));
        let link = |text: String| {
            text.lines().find(|line| line.starts_with("http")).map(|line| (line.to_owned(), text.clone()))
        };
        texts.filter_map(link).find(|(link, _)| link.contains(&format!("{page}#")))
    });
    let (link, text) = link;
    let token = link.trim().split_once('#').expect("a fragment").1.to_owned();
    assert!(text.lines().any(|line| line.trim() == token), "the token is a word of its own: {text}");
    token
}

fn log_in(authd: &Authd, password: &str, totp: Option<&str>) -> Result<String, String> {
    let body = json!({"username": ADA, "password": password, "totp": totp});
    let answer = authd.http().post("/auth/login", &body).expect("it answers").json();
    answer["token"].as_str().map(str::to_owned).ok_or_else(|| answer["error"].as_str().expect("an error").to_owned())
}

#[test]
fn a_person_signs_up_adds_totp_resets_moves_and_leaves() {
    for engine in ["SQLite", "PostgreSQL"] {
        let server = MailServer::start();
        let setup =
            if engine == "SQLite" { setup(&server) } else { setup(&server).database(&tests::postgres::database()) };
        let authd = setup.start();
        post(&authd, "/auth/signup", &json!({"email": "Ada@Example.com"}), 202);
        let token = mailed(&server, "Ada@example.com", "/account/verify");
        // What a scanner of mails does uses nothing up, not even with the token in the query.
        for path in ["/account/verify".to_owned(), format!("/account/verify?token={token}")] {
            let seen = authd.http().get(&path).expect("it answers");
            assert!(seen.status == 200 && seen.text().contains("new-password"), "{engine}");
        }
        let path = format!("/auth/signup/verify?token={token}&password=correct+horse+battery");
        assert_eq!(authd.http().get(&path).expect("it answers").status, 405, "{engine}");
        let verified = post(&authd, "/auth/signup/verify", &json!({"token": token, "password": PASSWORD}), 201);
        let session = verified["token"].as_str().expect("a session").to_owned();
        post(&authd, "/auth/signup/verify", &json!({"token": token, "password": PASSWORD}), 401);

        let own = |path: &str, body: &Value| authd.http().bearer(&session).post(path, body).expect("it answers");
        let pending = own("/auth/totp/enable", &json!({"password": PASSWORD})).expect(200);
        let secret = pending["secret"].as_str().expect("a secret").to_owned();
        let codes =
            own("/auth/totp/confirm", &json!({"code": oathtool(&secret, "")})).expect(200)["recovery_codes"].clone();
        let code = |number: usize| codes[number].as_str().expect("a code");
        assert_eq!(log_in(&authd, PASSWORD, None).unwrap_err(), "totp_required", "{engine}");
        log_in(&authd, PASSWORD, Some(code(0))).unwrap();

        // Links are made from the public URL, whatever a request says of the host.
        let elsewhere = authd.http().host("evil.example").with("x-forwarded-host", "evil.example");
        let asked = elsewhere.post("/auth/password/reset", &json!({"email": "ADA@example.com"}));
        asked.expect("it answers").expect(202);
        let token = mailed(&server, "Ada@example.com", "/account/reset");
        let mails = server.mails();
        let links = mails.iter().filter_map(|mail| mail["text"].as_str()).flat_map(str::lines);
        for link in links.filter(|line| line.starts_with("http")) {
            assert!(link.starts_with(&authd.url()), "{engine}: {link}");
        }
        post(&authd, "/auth/password/reset/confirm", &json!({"token": token, "password": NEW}), 401);
        // By the page, as a browser without scripts sends it.
        let form = format!("token={token}&password={}&totp={}", NEW.replace(' ', "+"), code(1));
        let done = authd.http().form("/account/reset", &form).expect("it answers");
        assert!(done.status == 200 && done.text().contains("Your password is set"), "{engine}: {}", done.text());
        assert_eq!(log_in(&authd, PASSWORD, Some(code(2))).unwrap_err(), "invalid_credentials", "{engine}");
        let session = log_in(&authd, NEW, Some(code(2))).unwrap();

        let own = |path: &str, body: &Value| authd.http().bearer(&session).post(path, body).expect("it answers");
        own("/auth/email", &json!({"email": "ada@example.org", "password": NEW, "totp": code(3)})).expect(202);
        let token = mailed(&server, "ada@example.org", "/account/email");
        let done = authd.http().form("/account/email", &format!("token={token}")).expect("it answers");
        assert_eq!(done.status, 200, "{engine}: {}", done.text());
        // TOTP, the reset and the change are told to the old address, besides the two links.
        server.wait_for("Ada@example.com", 5);

        let (password, body) = (NEW, json!({"password": NEW, "totp": code(4)}));
        let query = format!("/auth/account?password={}", password.replace(' ', "+"));
        let refused = authd.http().bearer(&session).send("DELETE", &query, None).expect("it answers");
        assert_eq!(refused.status, 400, "{engine}: {}", refused.text());
        let body = body.to_string();
        let gone =
            authd.http().bearer(&session).send("DELETE", "/auth/account", Some(("application/json", body.as_bytes())));
        gone.expect("it answers").expect(200);
        server.wait_for("ada@example.org", 2);
        assert_eq!(authd.http().bearer(&session).get("/auth/profile").expect("it answers").status, 401, "{engine}");
        let users = authd.admin().get("/users").expect("it answers").expect(200);
        assert_eq!(users["users"], json!([]), "{engine}");
    }
}

#[test]
fn an_operator_invites_and_the_page_sets_the_password() {
    let server = MailServer::start();
    let authd = setup(&server).start();
    let output = authd.authctl(&["user", "invite", "bob@example.com", "--username", "bob", "--name", "Bob"]);
    assert!(stdout(&output).contains("Invited bob: a mail with a link goes to bob@example.com"));
    assert!(stdout(&authd.authctl(&["user", "show", "bob"])).contains("bob@example.com (not verified)"));
    let token = mailed(&server, "bob@example.com", "/account/verify");
    let weak = authd.http().form("/account/verify", &format!("token={token}&password=short")).expect("it answers");
    assert!(weak.status == 422 && weak.text().contains(&token), "the form comes back with its token: {}", weak.text());
    let form = format!("token={token}&password={}", PASSWORD.replace(' ', "+"));
    let done = authd.http().form("/account/verify", &form).expect("it answers");
    assert!(done.status == 200 && done.text().contains("Your account is ready"), "{}", done.text());
    let again = authd.http().form("/account/verify", &form).expect("it answers");
    assert_eq!(again.status, 401, "{}", again.text());
    for name in ["bob", "BOB@example.com"] {
        let body = json!({"username": name, "password": PASSWORD});
        authd.http().post("/auth/login", &body).expect("it answers").expect(200);
    }
}

#[test]
fn the_page_of_a_link_says_whose_account_it_is_and_leaves_no_session_behind() {
    let server = MailServer::start();
    let authd = setup(&server).start();
    stdout(&authd.authctl(&["user", "invite", "bob@example.com", "--username", "bob"]));
    post(&authd, "/auth/signup", &json!({"email": "Zoë@Example.com"}), 202);
    let link = |to: &str, page: &str| format!("{}{page}#{}", authd.url(), mailed(&server, to, page));
    for (to, shown) in [("bob@example.com", "bob@example.com"), ("Zoë@example.com", "zoë@example.com")] {
        let page = Visit::new().sets(PASSWORD).go(&link(to, "/account/verify"));
        assert!(page.form.contains(&format!(">{shown}</dd>")), "{}", page.form);
        assert!(page.text.contains("Your account is ready"), "{}", page.text);
    }
    let sessions = authd.admin().get("/sessions?include_ended=true").expect("it answers").expect(200);
    assert_eq!(sessions["sessions"], json!([]));
    post(&authd, "/auth/password/reset", &json!({"email": "bob@example.com"}), 202);
    let reset = link("bob@example.com", "/account/reset");
    // What was refused comes back with the address.
    let page = Visit::new().sets("bob@example.com").go(&reset);
    assert!(page.text.contains("easy to guess") && page.html.contains(">bob@example.com</dd>"), "{}", page.html);
    let page = Visit::new().sets(NEW).go(&reset);
    assert!(page.text.contains("Your password is set"), "{}", page.text);
    let session = authd.http().post("/auth/login", &json!({"username": "bob", "password": NEW})).expect("it answers");
    let session = session.expect(200)["token"].as_str().expect("a session").to_owned();
    let change = json!({"email": "bob@example.org", "password": NEW});
    authd.http().bearer(&session).post("/auth/email", &change).expect("it answers").expect(202);
    let page = Visit::new().go(&link("bob@example.org", "/account/email"));
    assert!(page.html.contains(">bob@example.org</dd>"), "{}", page.html);
    let page = Visit::new().go(&format!("{}/account/reset#nonsense", authd.url()));
    assert!(page.text.contains("Set a new password") && !page.text.contains("Account\n"), "{}", page.text);
}

#[test]
fn an_address_with_an_account_gets_a_notice_and_no_link() {
    let server = MailServer::start();
    let authd = setup(&server).start();
    post(&authd, "/auth/signup", &json!({"email": ADA}), 202);
    let token = mailed(&server, ADA, "/account/verify");
    post(&authd, "/auth/signup/verify", &json!({"token": token, "password": PASSWORD}), 201);
    let known = post(&authd, "/auth/signup", &json!({"email": "ADA@EXAMPLE.com"}), 202);
    assert_eq!(known, post(&authd, "/auth/signup", &json!({"email": "bob@example.com"}), 202));
    let notice = server.wait_for(ADA, 2).swap_remove(1);
    let text = notice["text"].as_str().expect("a text");
    assert!(!text.contains('#'), "{text}");
    // An address without an account gets no mail of a reset.
    post(&authd, "/auth/password/reset", &json!({"email": "nobody@example.com"}), 202);
    post(&authd, "/auth/password/reset", &json!({"email": ADA}), 202);
    server.wait_for(ADA, 3);
    until(TIMEOUT, "an empty queue", || {
        let mails = authd.admin().get("/mails").expect("it answers").expect(200);
        (mails["mails"] == json!([])).then_some(())
    });
    assert!(server.mails().iter().all(|mail| mail["to"] != "nobody@example.com"));
}

#[test]
fn a_client_with_its_own_proto_files_walks_through_an_account_over_grpc() {
    for engine in ["SQLite", "PostgreSQL"] {
        let server = MailServer::start();
        let setup =
            if engine == "SQLite" { setup(&server) } else { setup(&server).database(&tests::postgres::database()) };
        let authd = setup.start();
        let output = rig::script("sso-client.py")
            .arg(authd.dir().join("client"))
            .arg(format!("127.0.0.1:{}", authd.port()))
            .arg(server.folder())
            .run(MINUTES);
        let got: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let expected = json!([
            ["sign up", "E-003"],
            ["verify another address", "E-005"],
            ["verify with a weak password", "E-009"],
            ["reset with a token to verify", "E-005"],
            ["verify", "OK"],
            ["verify again", "E-005"],
            ["sign up again", "E-003"],
            ["totp", "OK"],
            ["confirm with a wrong code", "E-004"],
            ["confirm", "OK"],
            ["login without a code", "E-004"],
            ["login with a wrong code", "E-004"],
            ["login with a wrong password", "E-008"],
            ["login", "OK"],
            ["logout", "OK"],
            ["logout again", "E-005"],
            ["reset", "E-003"],
            ["reset without a code", "E-004"],
            ["reset to the same password", "E-008"],
            ["reset confirmed", "OK"],
            ["the session is over", "E-005"],
            ["login after the reset", "OK"],
            ["totp off", "OK"],
            ["totp off again", "E-003"],
            ["delete without a token", "E-002"],
            ["delete with a wrong password", "E-008"],
            ["delete", "OK"],
            ["login after the end", "E-008"],
        ]);
        assert_eq!(got["steps"], expected, "{engine}");
        let claims = ["exp", "iat", "iss", "jti", "knd", "nbf", "sub"];
        let twelve_hours = 12 * 3600;
        assert_eq!(got["session"], json!({"kind": "Session", "claims": claims, "life": twelve_hours}), "{engine}");
        let audit = authd.admin().get("/audit?limit=100").expect("it answers").expect(200);
        let has = |operation: &str, outcome: &str| {
            let is_one = |entry: &Value| entry["action"] == operation && entry["outcome"] == outcome;
            audit["entries"].as_array().is_some_and(|entries| entries.iter().any(is_one))
        };
        for operation in
            ["accounts.verify_sign_up", "factors.confirm_totp", "accounts.confirm_reset", "accounts.delete"]
        {
            assert!(has(operation, "ok"), "{operation}: {audit}");
        }
        for operation in ["sessions.login", "factors.confirm_totp", "accounts.confirm_reset", "accounts.delete"] {
            assert!(has(operation, "refused"), "{operation}: {audit}");
        }
    }
}

#[test]
fn of_two_uses_of_a_link_at_two_daemons_one_wins() {
    let server = MailServer::start();
    let (database, key) = (tests::postgres::database(), "5a".repeat(32));
    let node = || setup(&server).database(&database).env("AUTHD_ROOT_KEY", &key).start();
    let nodes = [node(), node()];
    post(&nodes[0], "/auth/signup", &json!({"email": ADA}), 202);
    let verify = json!({"token": mailed(&server, ADA, "/account/verify"), "password": PASSWORD});
    let answers = std::thread::scope(|scope| {
        let uses = nodes.each_ref().map(|node| {
            let verify = &verify;
            scope.spawn(move || node.http().post("/auth/signup/verify", verify).expect("it answers").status)
        });
        uses.map(|answer| answer.join().expect("no panic"))
    });
    assert!(matches!(answers, [201, 401] | [401, 201]), "{answers:?}");
}
