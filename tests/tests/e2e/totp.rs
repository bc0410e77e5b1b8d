//! TOTP through the real daemon and authctl, with codes of another implementation (oathtool) and QR codes that another
//! program reads (zbar), on both engines.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use tests::authd::{Authd, Setup};
use tests::process::{Spec, both, stdout};
use tests::{TIMEOUT, binary, folder};

const PASSWORD: &str = "correct horse battery staple";
const MANY: &str = "[login]\nmax_failures = 100\nmax_failures_per_address = 100000";

/// The code of a secret in base32 now, or `later` ("+30 seconds").
pub fn oathtool(secret: &str, later: &str) -> String {
    let spec = Spec::new("oathtool").args(["--totp", "--base32", "--now", &format!("now {later}"), "-"]);
    stdout(&spec.stdin(secret).run(TIMEOUT)).trim().to_owned()
}

/// What zbar reads in an image.
fn zbar(image: &Path) -> String {
    stdout(&Spec::new("zbarimg").args(["--quiet", "--raw"]).arg(image).run(TIMEOUT)).trim().to_owned()
}

fn login(authd: &Authd, password: &str, totp: Option<&str>) -> (u16, Value) {
    let body = json!({"username": "alice", "password": password, "totp": totp});
    let answer = authd.http().post("/auth/login", &body).expect("it answers");
    (answer.status, serde_json::from_str(&answer.text()).expect("JSON"))
}

#[track_caller]
fn session(authd: &Authd, totp: Option<&str>) -> String {
    let (status, answer) = login(authd, PASSWORD, totp);
    assert_eq!(status, 200, "{answer}");
    answer["token"].as_str().expect("a token").to_owned()
}

#[track_caller]
fn post(authd: &Authd, session: &str, path: &str, body: &Value) -> Value {
    authd.http().bearer(session).post(path, body).expect("it answers").expect(200)
}

/// Alice with TOTP: her secret, recovery codes and session. Her next code is that of the next step.
fn alice(authd: &Authd) -> (String, Vec<String>, String) {
    let made = authd.admin().post("/users", &json!({"username": "alice", "password": PASSWORD}));
    made.expect("it answers").expect(201);
    let session = session(authd, None);
    let pending = post(authd, &session, "/auth/totp/enable", &json!({"password": PASSWORD}));
    let secret = pending["secret"].as_str().expect("a secret").to_owned();
    let codes = post(authd, &session, "/auth/totp/confirm", &json!({"code": oathtool(&secret, "")}));
    let codes =
        codes["recovery_codes"].as_array().expect("codes").iter().map(|code| code.as_str().expect("text").to_owned());
    (secret, codes.collect(), session)
}

#[test]
fn another_implementations_codes_sign_in() {
    let postgres = Setup::new().toml(MANY).database(&tests::postgres::database());
    for (engine, authd) in [("SQLite", Setup::new().toml(MANY).start()), ("PostgreSQL", postgres.start())] {
        let (secret, codes, first) = alice(&authd);
        let (status, answer) = login(&authd, PASSWORD, None);
        assert_eq!((status, answer["error"].as_str()), (401, Some("totp_required")), "{engine}: {answer}");
        let body = json!({"username": "alice", "password": PASSWORD});
        let answer = authd.http().post("/auth/login", &body).expect("it answers");
        let challenge = "Bearer realm=\"authd\", error=\"insufficient_user_authentication\"";
        assert_eq!(answer.header("www-authenticate"), Some(challenge), "{engine}");
        let (status, answer) = login(&authd, "wrong", Some(&oathtool(&secret, "+30 seconds")));
        assert_eq!((status, answer["error"].as_str()), (401, Some("invalid_credentials")), "{engine}: {answer}");
        let next = oathtool(&secret, "+30 seconds");
        session(&authd, Some(&next));
        for used in [next.as_str(), &format!(" {next}"), &codes[0].replace('-', "+")] {
            assert_eq!(login(&authd, PASSWORD, Some(used)).1["error"], "invalid_credentials", "{engine}: {used}");
        }
        session(&authd, Some(&codes[0]));
        assert_eq!(login(&authd, PASSWORD, Some(&codes[0])).1["error"], "invalid_credentials", "{engine}: used");
        let list = authd.http().bearer(&first).get("/auth/factors").expect("it answers").expect(200);
        assert_eq!((&list["factors"][0]["kind"], &list["recovery_codes"]), (&json!("totp"), &json!(9)), "{engine}");
        post(&authd, &first, "/auth/reauthenticate", &json!({"password": PASSWORD, "totp": codes[1]}));
        post(&authd, &first, "/auth/totp/disable", &json!({"password": PASSWORD, "code": codes[2]}));
        session(&authd, None);
    }
}

/// Ten logins at once, in turn at each of these daemons: how many are let in.
fn let_in(daemons: &[&Authd], totp: &str) -> usize {
    std::thread::scope(|scope| {
        let logins =
            (0..10).map(|number| scope.spawn(move || login(daemons[number % daemons.len()], PASSWORD, Some(totp))));
        let answers: Vec<_> =
            logins.collect::<Vec<_>>().into_iter().map(|login| login.join().expect("it answers")).collect();
        let refused =
            answers.iter().filter(|(status, answer)| *status == 401 && answer["error"] == "invalid_credentials");
        let let_in = answers.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(refused.count() + let_in, 10, "{answers:?}");
        let_in
    })
}

#[test]
fn of_ten_logins_with_one_code_one_is_let_in() {
    let authd = Setup::new().toml(MANY).start();
    let (secret, codes, _) = alice(&authd);
    assert_eq!(let_in(&[&authd], &oathtool(&secret, "+30 seconds")), 1);
    assert_eq!(let_in(&[&authd], &codes[0]), 1);
}

#[test]
fn of_ten_logins_with_one_code_at_two_daemons_one_is_let_in() {
    let (database, key) = (tests::postgres::database(), "0123456789abcdef".repeat(4));
    let daemon = || Setup::new().toml(MANY).database(&database).env("AUTHD_ROOT_KEY", &key).start();
    let (one, other) = (daemon(), daemon());
    let (secret, codes, _) = alice(&one);
    assert_eq!(let_in(&[&one, &other], &oathtool(&secret, "+30 seconds")), 1);
    assert_eq!(let_in(&[&one, &other], &codes[0]), 1);
}

#[test]
fn every_qr_code_is_read_as_the_uri() {
    use base64::Engine as _;
    let authd = Authd::start();
    let created = authd.admin().post("/users", &json!({"username": "zo\u{eb} m", "password": PASSWORD}));
    created.expect("it answers").expect(201);
    let body = json!({"username": "zo\u{eb} m", "password": PASSWORD});
    let session = authd.http().post("/auth/login", &body).expect("it answers").expect(200);
    let session = session["token"].as_str().expect("a token");
    let pending = post(&authd, session, "/auth/totp/enable", &json!({"password": PASSWORD}));
    let text = |field: &str| pending[field].as_str().expect("text").to_owned();
    let expected = format!(
        "otpauth://totp/127.0.0.1:zo%C3%AB%20m?secret={}&issuer=127.0.0.1&algorithm=SHA1&digits=6&period=30",
        text("secret")
    );
    assert_eq!(text("uri"), expected);
    let dir = folder("qr");
    let png = dir.path().join("qr.png");
    std::fs::write(&png, base64::prelude::BASE64_STANDARD.decode(text("qr_png")).expect("base64")).expect("it is ours");
    assert_eq!(zbar(&png), expected);

    let (svg, shot) = (dir.path().join("qr.svg"), dir.path().join("shot.png"));
    std::fs::write(&svg, text("qr_svg")).expect("it is ours");
    let chromium = Spec::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--window-size=500,500",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("--screenshot={}", shot.display()))
        .arg(format!("file://{}", svg.display()))
        .env("HOME", dir.path());
    let rendered = chromium.run(TIMEOUT);
    assert!(shot.is_file(), "{}", both(&rendered));
    assert_eq!(zbar(&shot), expected);
}

/// A picture of what authctl prints on a dark terminal, each module eight pixels wide, as a PGM file.
fn picture(text: &str) -> String {
    let rows: Vec<&str> = text.lines().filter(|line| line.contains('█')).collect();
    let pixels = rows.iter().flat_map(|row| {
        [['█', '▀'], ['█', '▄']]
            .map(|light| row.chars().map(|sign| u8::from(light.contains(&sign)) * 255).collect::<Vec<u8>>())
    });
    let pixels: Vec<_> = pixels.collect();
    let mut pgm = format!("P2 {} {} 255\n", pixels[0].len() * 8, pixels.len() * 8);
    for row in pixels.iter().flat_map(|row| std::iter::repeat_n(row, 8)) {
        row.iter()
            .flat_map(|pixel| std::iter::repeat_n(pixel, 8))
            .for_each(|pixel| write!(pgm, "{pixel} ").expect("a string"));
        pgm.push('\n');
    }
    pgm
}

#[test]
fn authctl_turns_totp_on_and_off_and_shows_it() {
    let authd = Authd::start();
    let made = authd.admin().post("/users", &json!({"username": "alice", "password": PASSWORD}));
    made.expect("it answers").expect(201);
    let dir = folder("totp");
    let url = authd.url();
    let run = |args: &[&str], stdin: &str| {
        let spec = Spec::new(binary("authctl")).env("HOME", dir.path()).args(["--server", &url]).args(args);
        spec.stdin(stdin).run(TIMEOUT)
    };
    let sign_in = |stdin: &str| run(&["login", "--user", "alice", "--password-stdin", "--token-store", "file"], stdin);
    stdout(&sign_in(PASSWORD));
    let shown = stdout(&run(&["totp", "enable", "--password-stdin"], PASSWORD));
    let secret = shown.rsplit(' ').next().expect("the secret is last").trim().to_owned();
    let pgm = dir.path().join("terminal.pgm");
    std::fs::write(&pgm, picture(&shown)).expect("it is ours");
    assert!(zbar(&pgm).contains(&format!("alice?secret={secret}&")), "{shown}");
    let codes = stdout(&run(&["totp", "confirm", "--code-stdin"], &oathtool(&secret, "")));
    assert_eq!(codes.lines().count(), 10, "{codes}");

    let refused = sign_in(PASSWORD);
    assert_eq!(refused.status.code(), Some(3), "{}", both(&refused));
    assert!(both(&refused).contains("the line after the password on stdin"), "{}", both(&refused));
    stdout(&sign_in(&format!("{PASSWORD}\n{}\n", oathtool(&secret, "+30 seconds"))));
    let status = stdout(&run(&["totp", "status"], ""));
    assert!(status.contains("authenticator app") && status.contains("10 unused codes"), "{status}");
    let both_lines = |code: &str| format!("{PASSWORD}\n{code}");
    let codes: Vec<&str> = codes.lines().collect();
    let renewed = stdout(&run(&["totp", "recovery-codes", "--password-stdin"], &both_lines(codes[0])));
    let renewed: Vec<&str> = renewed.lines().collect();
    assert!(renewed.len() == 10 && !renewed.contains(&codes[1]));
    stdout(&run(&["totp", "disable", "--password-stdin"], &both_lines(renewed[0])));
    stdout(&sign_in(PASSWORD));

    // An administrator resets what somebody lost.
    let pending = stdout(&run(&["totp", "enable", "--password-stdin", "-o", "json"], PASSWORD));
    let pending: Value = serde_json::from_str(&pending).expect("JSON");
    let secret = pending["secret"].as_str().expect("a secret");
    stdout(&run(&["totp", "confirm", "--code-stdin"], &oathtool(secret, "")));
    let shown = stdout(&authd.authctl(&["user", "show", "alice"]));
    assert!(
        shown.contains("authenticator app") && shown.contains("Signed in") && shown.contains("127.0.0.1"),
        "{shown}"
    );
    stdout(&authd.authctl(&["user", "totp", "reset", "alice", "--yes"]));
    assert!(stdout(&authd.authctl(&["user", "show", "alice"])).contains("none besides the password"));
    assert_eq!(run(&["totp", "status"], "").status.code(), Some(3), "every session has ended");
    stdout(&sign_in(PASSWORD));
}
