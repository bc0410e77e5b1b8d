//! No secret is ever written in clear: a search for every secret of a whole login in everything that was written.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;

use base64::Engine as _;
use rustix::process::Signal;
use serde_json::json;
use shared::grpc::authd::v1::authd_client::AuthdClient;
use shared::grpc::authd::v1::{IntrospectRequest, ValidateRequest};
use shared::grpc::session::LoginRequest;
use shared::grpc::session::session_client::SessionClient;
use shared::grpc::user::user_client::UserClient;
use shared::grpc::user::{DeleteRequest, ResetRequest, SignupRequest, TotpRequest};
use tests::authd::{ADMIN_TOKEN, Authd, Setup};
use tests::browser::Visit;
use tests::login::{Mode, Service, Terminal};
use tests::mail::MailServer;
use tests::process::{Spec, both};
use tests::redis::Redis;
use tests::{TIMEOUT, binary, folder, until};
use tonic::transport::Channel;

use crate::accounts::mailed;
use crate::totp::oathtool;

#[test]
fn no_secret_is_in_database_log_metrics_or_redis() {
    let redis = Redis::start();
    let service = Service::with(|setup, _, _| setup.env("REDIS_URL", &redis.url()).toml("[log]\nlevel = \"trace\"\n"));
    let authd = &service.authd;
    let (token, id) = authd.mint("canary", &["read"]);
    assert_eq!(authd.validate(&token, &["read"])["valid"], true);
    let path = format!("/auth/tokens/{id}/rotate");
    let rotated = authd.admin().with("idempotency-key", "k").post(&path, &json!({"grace_seconds": 60}));
    let rotated = rotated.expect("it answers").expect(200);
    let owner = Terminal::start(authd, Mode::Loopback);
    let page = Visit::new().go(&owner.auth_url);
    let release = owner.release(&page);
    let wrong = "wrong-release-canary-0123456789";
    owner.poll(Some(&owner.secret), Some(wrong));
    let first = owner.poll(Some(&owner.secret), Some(&release)).expect(200);
    let renew = json!({"refresh_token": first["refresh_token"]});
    let second = authd.http().post("/auth/cli/renew", &renew).expect("it answers").expect(200);

    over_grpc(authd.port(), &token);
    let text = |v: &serde_json::Value| v.as_str().expect("a secret").to_owned();
    let (password, chosen) = ("a canary of a password", "another canary, chosen later");
    let person = json!({"username": "canary", "password": password});
    authd.admin().post("/users", &person).expect("it answers").expect(201);
    let session = authd.http().post("/auth/login", &person).expect("it answers").expect(200);
    let session = text(&session["token"]);
    let guess = json!({"username": "canary", "password": "a wrong canary of a password"});
    assert_eq!(authd.http().post("/auth/login", &guess).expect("it answers").status, 401);
    let change = json!({"password": password, "new_password": chosen}).to_string();
    let owner_of = authd.http().bearer(&session);
    owner_of
        .send("PUT", "/auth/password", Some(("application/json", change.as_bytes())))
        .expect("it answers")
        .expect(200);
    let owner_post = |path: &str, body: serde_json::Value| owner_of.post(path, &body).expect("it answers");
    let pending = owner_post("/auth/totp/enable", json!({"password": chosen})).expect(200);
    let seed = text(&pending["secret"]);
    let confirming = oathtool(&seed, "");
    let confirmed = owner_post("/auth/totp/confirm", json!({"code": confirming})).expect(200);
    let recovery = |number: usize| text(&confirmed["recovery_codes"][number]);
    let signing_in = oathtool(&seed, "+30 seconds");
    let sign_in = |totp: &str| {
        let login = json!({"username": "canary", "password": chosen, "totp": totp});
        authd.http().post("/auth/login", &login).expect("it answers").status
    };
    assert_eq!([sign_in(&signing_in), sign_in(&signing_in), sign_in(&recovery(0))], [200, 401, 200]);
    assert_eq!(sign_in("WRNG-WRNG-WRNG-WRNG-WRNG-WRNG"), 401);
    owner_post("/auth/reauthenticate", json!({"password": chosen, "totp": recovery(1)})).expect(200);
    let renewed = owner_post("/auth/recovery-codes", json!({"password": chosen, "code": recovery(2)})).expect(200);
    authd.http().with("token", &session).post("/check-token", &json!({})).expect("it answers").expect(200);
    let form = format!("token={session}");
    let media = "application/x-www-form-urlencoded";
    owner_of.send("POST", "/introspect", Some((media, form.as_bytes()))).expect("it answers").expect(200);
    authd.admin().post("/services", &json!({"name": "canary"})).expect("it answers").expect(201);
    let made = authd.admin().post("/services/canary/token", &json!({})).expect("it answers").expect(201);
    let secrets = [
        ("a password", password.to_owned()),
        ("a chosen password", chosen.to_owned()),
        ("a wrong password", "a wrong canary of a password".to_owned()),
        ("a session's token", session),
        ("a service's own token", text(&made["token"])),
        ("a TOTP secret", seed.clone()),
        ("a TOTP URI", text(&pending["uri"])),
        ("a QR code", text(&pending["qr_svg"])),
        ("a used recovery code", recovery(0)),
        ("a recovery code without hyphens", recovery(1).replace('-', "")),
        ("an unused recovery code", recovery(5)),
        ("a new recovery code", text(&renewed["recovery_codes"][9])),
        ("a wrong recovery code", "WRNG-WRNG-WRNG-WRNG-WRNG-WRNG".to_owned()),
        ("the admin token", ADMIN_TOKEN.to_owned()),
        ("an API token", token),
        ("a rotated API token", text(&rotated["token"])),
        ("the poll secret", owner.secret.clone()),
        ("the release", release),
        ("a wrong release", wrong.to_owned()),
        ("the device token", text(&first["refresh_token"])),
        ("the next device token", text(&second["refresh_token"])),
        ("the AWS secret", text(&first["secret_access_key"])),
        ("the AWS session token", text(&first["session_token"])),
        ("the AWS secret of authd", service.sts.secret_access_key.clone()),
        ("the provider's password", "Passw0rd!".to_owned()),
    ];
    let mut places = places(authd);
    places.push(("Redis", redis.everything()));
    search(&secrets, &places);
    let seed = tests::authd::base32(&seed);
    for (place, bytes) in &places {
        let found = bytes.windows(seed.len()).position(|window| window == seed);
        assert!(found.is_none(), "the bytes of a TOTP secret are in {place}: {:?}", context(bytes, found));
        for code in [&confirming, &signing_in] {
            // As a value of its own: as a part of a time or a number, six digits are anywhere.
            for form in [format!("\"{code}\""), format!("={code}"), format!(": {code}"), format!(" {code}")] {
                let found = bytes.windows(form.len()).position(|window| window == form.as_bytes());
                assert!(found.is_none(), "a TOTP code is in {place}: {:?}", context(bytes, found));
            }
        }
    }
    // the provider's refresh token never shows itself here: what is stored must be sealed, so look for a JWT's head
    let disk = &places[0].1;
    for mark in ["eyJhbGciOi", "\"refresh_token\""] {
        let found = disk.windows(mark.len()).position(|w| w == mark.as_bytes());
        assert!(found.is_none(), "something in clear from the provider: {:?}", context(disk, found));
    }
}

#[test]
fn no_secret_of_an_account_is_anywhere_but_in_its_own_mail() {
    let server = MailServer::start();
    let setup = Setup::new().toml("[log]\nlevel = \"trace\"\n[accounts]\nsign_up = \"open\"\n");
    let authd = setup.env("SMTP_URL", &server.plain_url()).env("SMTP_FROM", "auth@example.com").start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let secrets = runtime.block_on(live(&authd, &server));
    let mailed: Vec<_> = server.mails().into_iter().map(|mail| mail.to_string()).collect();
    let mut places = places(&authd);
    places.push(("mails", mailed.concat().into()));
    let [links, inner, secrets] = secrets;
    search(&secrets, &places);
    // A mailed token is in its own mail and nowhere else.
    for (what, token) in &links {
        let found = mailed.iter().filter(|mail| mail.contains(token.as_str())).count();
        assert_eq!(found, 1, "{what}");
    }
    places.pop();
    search(&links, &places);
    search(&inner, &places);
}

type Secrets = Vec<(&'static str, String)>;

/// The life of an account over gRPC: the tokens that were mailed, what is in them, and all other secrets.
async fn live(authd: &Authd, server: &MailServer) -> [Secrets; 3] {
    let base64 = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
    let channel = Channel::from_shared(authd.url()).expect("a URL").connect().await.expect("it listens");
    let (mut user, mut session) = (UserClient::new(channel.clone()), SessionClient::new(channel));
    let (email, first, second) = ("ada@example.com", "a canary at the beginning", "a canary after the reset");
    let sign_up = SignupRequest { email: email.into(), pwd: base64(first) };
    let refused = user.signup(sign_up.clone()).await.expect_err("a mail goes out");
    assert_eq!(refused.message(), "E-003");
    let verification = mailed(server, email, "/account/verify");
    let verified = user.signup(with_token(sign_up, &verification)).await.expect("an account");
    let signed = metadata(&verified, "authorization");
    let totp = |code: &str| TotpRequest { pwd: base64(first), totp: code.into(), ..TotpRequest::default() };
    let pending = user.totp(with_token(totp(""), &signed)).await.expect("a secret");
    let seed = metadata(&pending, "x-totp-secret");
    let confirmed = user.totp(with_token(totp(&oathtool(&seed, "")), &signed)).await.expect("it is on");
    let recovery = metadata(&confirmed, "x-totp-recovery-codes");
    let recovery: Vec<String> = recovery.split(' ').map(str::to_owned).collect();
    let login = LoginRequest { ident: email.into(), pwd: base64("a wrong canary"), totp: recovery[0].clone() };
    assert_eq!(session.login(login.clone()).await.expect_err("it is wrong").message(), "E-008");
    let good = LoginRequest { pwd: base64(first), ..login };
    let other = metadata(&session.login(good).await.expect("a session"), "authorization");
    session.logout(with_token((), &other)).await.expect("it ends");
    let ask = ResetRequest { email: email.into(), ..ResetRequest::default() };
    user.reset(ask.clone()).await.expect_err("a mail goes out");
    let reset = mailed(server, email, "/account/reset");
    let confirm = ResetRequest { pwd: base64(second), totp: recovery[1].clone(), ..ask };
    user.reset(with_token(confirm, &reset)).await.expect("a new password");
    let body = json!({"username": email, "password": second, "totp": recovery[2]});
    let opaque = authd.http().post("/auth/login", &body).expect("it answers").expect(200)["token"].clone();
    let opaque = opaque.as_str().expect("a secret").to_owned();
    let change = json!({"email": "ada@example.org", "password": second, "totp": recovery[3]});
    authd.http().bearer(&opaque).post("/auth/email", &change).expect("it answers").expect(202);
    let moved = mailed(server, "ada@example.org", "/account/email");
    let confirm = json!({"token": moved});
    authd.http().post("/auth/email/confirm", &confirm).expect("it answers").expect(200);
    let delete = DeleteRequest { pwd: base64(second), totp: recovery[4].clone() };
    user.delete(with_token(delete, &base64(&opaque))).await.expect("it goes");
    let inner = |token: &str| {
        let plain = token.replace('-', "+").replace('_', "/");
        let signed = base64::prelude::BASE64_STANDARD_NO_PAD.decode(plain.trim_end_matches('=')).expect("base64");
        String::from_utf8(signed).expect("a JWT")
    };
    let jti = |token: &str| {
        let payload =
            base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(inner(token).split('.').nth(1).expect("a payload"));
        let claims: serde_json::Value = serde_json::from_slice(&payload.expect("base64")).expect("JSON");
        claims["jti"].as_str().expect("a jti").to_owned()
    };
    let links = vec![("a verification token", verification), ("a reset token", reset), ("a token to move", moved)];
    let inside = |(_, token): &(&str, String)| [("a link's JWT", inner(token)), ("a link's jti", jti(token))];
    let inside = links.iter().flat_map(inside).collect();
    let secrets = vec![
        ("the first password", first.to_owned()),
        ("the second password", second.to_owned()),
        ("a wrong password", "a wrong canary".to_owned()),
        ("a TOTP secret", seed),
        ("a used recovery code", recovery[0].clone()),
        ("an unused recovery code", recovery[9].clone()),
        ("a signed session", inner(&signed)),
        ("another signed session", inner(&other)),
        ("an opaque session", opaque),
    ];
    [links, inside, secrets]
}

fn with_token<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", token.parse().expect("plain text"));
    request
}

fn metadata<T>(answer: &tonic::Response<T>, name: &str) -> String {
    answer.metadata().get(name).expect("it is there").to_str().expect("plain text").to_owned()
}

/// Where secrets could have been written by authd.
fn places(authd: &Authd) -> Vec<(&'static str, Vec<u8>)> {
    let metrics = authd.socket().get("/metrics").expect("it answers");
    assert_eq!(metrics.status, 200, "{}", metrics.text());
    assert!(authd.log().len() > 1000, "the log is written, at its most talkative");
    let audit = authd.socket().get("/audit?limit=100").expect("it answers").body;
    vec![("files", authd.everything_on_disk()), ("metrics", metrics.body), ("audit", audit)]
}

/// Panics if a secret is in one of the places, in clear or in base64.
fn search(secrets: &[(&str, String)], places: &[(&str, Vec<u8>)]) {
    for (what, secret) in secrets {
        let encoded = base64::prelude::BASE64_STANDARD_NO_PAD.encode(secret);
        for form in [secret.as_bytes(), encoded.as_bytes()] {
            for (place, bytes) in places {
                let found = bytes.windows(form.len()).position(|w| w == form);
                assert!(found.is_none(), "{what} is in {place}: {:?}", context(bytes, found));
            }
        }
    }
}

#[test]
fn no_program_leaves_its_memory_in_a_core_dump() {
    // Each is ended by a signal that dumps core while it waits for an answer.
    let waits = |program: &OsStr, args: &[&str], env: &[(&str, &str)]| {
        let (folder, listener) = (folder("core"), TcpListener::bind("127.0.0.1:0").expect("a port"));
        let addr = listener.local_addr().expect("it is bound").to_string();
        let fill = |text: &&str| text.replace("ADDR", &addr).replace("DIR", &folder.path().display().to_string());
        let script = "ulimit -c unlimited; cd \"$0\"; exec \"$@\"";
        let spec = Spec::new("sh").args(["-c", script]).arg(folder.path()).arg(program).args(args.iter().map(fill));
        let spec = spec.envs(env.iter().map(|(name, value)| (*name, fill(value))));
        let running = spec.env("HOME", folder.path()).start_piped();
        listener.set_nonblocking(true).expect("a socket");
        let asked = until(TIMEOUT, "its question", || listener.accept().ok());
        running.signal(Signal::ABORT);
        let ended = running.finish(TIMEOUT);
        drop(asked);
        assert_eq!(ended.status.signal(), Some(Signal::ABORT.as_raw()), "{program:?}: {}", both(&ended));
        let files = std::fs::read_dir(folder.path()).expect("a folder").flatten();
        ended.status.core_dumped()
            || files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("core"))
    };
    let curl = waits(OsStr::new("curl"), &["-s", "http://ADDR"], &[]);
    assert!(curl, "this machine makes core dumps");
    let authd =
        [("AUTHD_DATA_DIR", "DIR/data"), ("AUTHD_ADMIN_SOCKET", "DIR/admin.sock"), ("SERVER_ADDR", "127.0.0.1:0")];
    let authd = [&authd[..], &[("DATABASE_URL", "postgres://canary:canary@ADDR/canary?sslmode=disable")]].concat();
    for (program, args, env) in [
        ("authd", &[][..], &authd[..]),
        ("authctl", &["--server", "http://ADDR", "status"], &[("AUTHCTL_TOKEN", "a-canary")]),
        ("auth-login", &["--server", "http://ADDR", "login", "--no-browser"], &[]),
    ] {
        assert!(!waits(binary(program).as_os_str(), args, env), "{program} left its memory");
    }
}

/// The token in a message and in metadata.
fn over_grpc(port: u16, token: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let channel = Channel::from_shared(format!("http://127.0.0.1:{port}")).expect("a URL").connect().await;
        let mut client = AuthdClient::new(channel.expect("it listens"));
        let ask = ValidateRequest { token: token.to_owned(), ..ValidateRequest::default() };
        assert!(client.validate(ask).await.expect("it answers").into_inner().valid);
        let ask = IntrospectRequest { token: token.to_owned(), ..IntrospectRequest::default() };
        let mut ask = tonic::Request::new(ask);
        let bearer = format!("Bearer {token}").parse().expect("plain text");
        ask.metadata_mut().insert("authorization", bearer);
        assert!(client.introspect(ask).await.expect("it answers").into_inner().active);
    });
}

/// What stands around a find, for the message.
fn context(bytes: &[u8], at: Option<usize>) -> String {
    let at = at.unwrap_or(0);
    String::from_utf8_lossy(&bytes[at.saturating_sub(120)..(at + 40).min(bytes.len())]).into_owned()
}
