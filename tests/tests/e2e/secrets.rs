//! No secret is ever written in clear: a search for every secret of a whole login in everything that was written.

use base64::Engine as _;
use serde_json::json;
use shared::grpc::authd::v1::authd_client::AuthdClient;
use shared::grpc::authd::v1::{IntrospectRequest, ValidateRequest};
use tests::authd::ADMIN_TOKEN;
use tests::browser::Visit;
use tests::login::{Mode, Service, Terminal};
use tests::redis::Redis;
use tonic::transport::Channel;

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
    let metrics = authd.socket().get("/metrics").expect("it answers");
    assert_eq!(metrics.status, 200, "{}", metrics.text());
    let places = [
        ("files", authd.everything_on_disk()),
        ("metrics", metrics.body),
        ("Redis", redis.everything()),
        ("audit", authd.socket().get("/audit?limit=100").expect("it answers").body),
    ];
    assert!(authd.log().len() > 1000, "the log is written, at its most talkative");
    for (what, secret) in &secrets {
        let encoded = base64::prelude::BASE64_STANDARD_NO_PAD.encode(secret);
        for form in [secret.as_bytes(), encoded.as_bytes()] {
            for (place, bytes) in &places {
                let found = bytes.windows(form.len()).position(|w| w == form);
                assert!(found.is_none(), "{what} is in {place}: {:?}", context(bytes, found));
            }
        }
    }
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
