//! gRPC before clients that others wrote: grpcio with code generated from shared/proto, `buf curl` by reflection, and
//! tonic's channel with the client of the crate `shared`.

use base64::Engine as _;
use prost::Message;
use serde_json::{Value, json};
use shared::grpc::authd::v1::authd_client::AuthdClient;
use shared::grpc::authd::v1::{IntrospectRequest, ValidateRequest};
use shared::grpc::google::rpc;
use shared::grpc::session::LoginRequest;
use shared::grpc::session::session_client::SessionClient;
use shared::grpc::user::DeleteRequest;
use shared::grpc::user::user_client::UserClient;
use std::time::Duration;
use tests::authd::{ADMIN_TOKEN, Authd, Setup};
use tests::document::repository;
use tests::postgres::Postgres;
use tests::process::{both, stdout};
use tests::{TIMEOUT, rig};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};

const MINUTES: Duration = Duration::from_secs(600);

/// A token with the scope `read` that ends in 2099, and the session of alice.
fn furnish(authd: &Authd) -> (String, String) {
    let post = |path: &str, body: Value, status| {
        authd.admin().post(path, &body).expect("it answers").expect(status)["token"].as_str().map(str::to_owned)
    };
    let token = json!({"name": "ci", "scopes": ["read"], "expires_at": "2099-01-15T08:00:00Z"});
    let token = post("/auth/tokens", token, 201).expect("a secret");
    let alice = json!({"username": "alice", "password": "correct horse battery"});
    post("/users", alice.clone(), 201);
    (token, post("/auth/login", alice, 200).expect("a secret"))
}

#[test]
fn a_client_that_grpcio_generates_gets_every_answer_and_every_status() {
    let authd = Authd::start();
    let (token, session) = furnish(&authd);
    let output = rig::script("grpc-client.py")
        .arg(repository().join("shared/proto"))
        .arg(authd.dir().join("client"))
        .args([&format!("127.0.0.1:{}", authd.port()), &token, ADMIN_TOKEN, &session])
        .run(MINUTES);
    let got: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let expected = json!({
        "valid": [true, ["read"], "ci", 2099],
        "lacking": [false, "insufficient_scopes", false],
        "many": 500,
        "introspected": [true, "read"],
        "checked": [true, "alice"],
        "health": "SERVING",
        "refused": {
            "nobody": ["UNAUTHENTICATED", "UNAUTHENTICATED"],
            "not allowed": ["PERMISSION_DENIED", "FORBIDDEN"],
            "field": ["INVALID_ARGUMENT", "VALIDATION_FAILED", "client_ip"],
            "compressed": ["UNIMPLEMENTED", "NOT_IMPLEMENTED"],
            "large": ["RESOURCE_EXHAUSTED", "PAYLOAD_TOO_LARGE"],
            "late": ["DEADLINE_EXCEEDED"],
            "unknown": ["NOT_FOUND", "NOT_FOUND"],
            "stream": ["UNIMPLEMENTED", "NOT_IMPLEMENTED"],
            "not served": ["UNIMPLEMENTED", "NOT_IMPLEMENTED"],
        },
        "metadata": true,
        "after": true,
    });
    assert_eq!(got, expected);
}

/// What `buf curl` is told and prints.
fn buf_curl(authd: &Authd, more: &[&str], path: &str) -> (bool, String) {
    let output = rig::program("buf")
        .args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"])
        .args(more)
        .arg(format!("{}{path}", authd.url()))
        .env("HOME", authd.dir())
        .dir(authd.dir())
        .run(MINUTES);
    if output.status.success() {
        return (true, String::from_utf8_lossy(&output.stdout).into_owned());
    }
    (false, both(&output))
}

#[test]
fn reflection_tells_what_is_served_and_only_where_it_is_switched_on() {
    let path = "/authd.v1.Authd/Validate";
    let ask = ["-d", "{\"token\": \"x\"}"];
    let off = Authd::start();
    let (worked, told) = buf_curl(&off, &ask, path);
    assert!(!worked && told.contains("failed to find service"), "{told}");

    let on = Setup::new().toml("[server]\ngrpc_reflection = true\n").start();
    for protocol in ["grpc-v1", "grpc-v1alpha"] {
        let (worked, told) = buf_curl(&on, &[&ask[..], &["--reflect-protocol", protocol]].concat(), path);
        let answer: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{protocol} {error}: {told}"));
        assert!(worked && answer["error"] == "token_not_found", "{told}");
        let (worked, told) = buf_curl(&on, &["--list-services", "--reflect-protocol", protocol], "");
        let mut services: Vec<&str> = told.lines().collect();
        services.sort_unstable();
        assert!(worked, "{told}");
        let mut expected = vec!["authd.v1.Authd", "envoy.service.auth.v3.Authorization", "grpc.health.v1.Health"];
        expected.extend(["session.Session", "user.User"]);
        assert_eq!(services, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_the_crate_asks_over_a_channel() {
    let mut authd = Authd::start();
    let (token, _) = furnish(&authd);
    let channel = Channel::from_shared(authd.url()).expect("a URL").connect().await.expect("it listens");
    let mut client = AuthdClient::new(channel);
    let ask = ValidateRequest { token: token.clone(), ..ValidateRequest::default() };
    let valid = client.validate(ask.clone()).await.expect("it answers").into_inner();
    assert!(valid.valid && valid.scopes == ["read"], "{valid:?}");

    let mut question = Request::new(IntrospectRequest { token: token.clone(), ..IntrospectRequest::default() });
    let refused = client.introspect(IntrospectRequest::default()).await.expect_err("nobody asks");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let details = rpc::Status::decode(refused.details()).expect("a status");
    assert_eq!((details.code, details.message.as_str()), (16, refused.message()));
    let bearer = MetadataValue::try_from(format!("Bearer {token}")).expect("plain text");
    question.metadata_mut().insert("authorization", bearer);
    assert!(client.introspect(question).await.expect("it answers").into_inner().active, "a token about itself");

    // A caller who gives a time is answered within it.
    authd.process().freeze();
    let mut late = Request::new(ask);
    late.set_timeout(Duration::from_millis(300));
    let late =
        tokio::time::timeout(TIMEOUT, client.validate(late)).await.expect("an end").expect_err("it stands still");
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_says_nothing_of_an_account() {
    let mut postgres = Postgres::start();
    let authd = Setup::new().database(&postgres.database()).start();
    furnish(&authd);
    let channel = Channel::from_shared(authd.url()).expect("a URL").connect().await.expect("it listens");
    let (mut client, mut user) = (SessionClient::new(channel.clone()), UserClient::new(channel));
    let pwd = base64::prelude::BASE64_STANDARD.encode("correct horse battery");
    let login = LoginRequest { ident: "alice".to_owned(), pwd, totp: String::new() };
    let answer = client.login(login.clone()).await.expect("she signs in");
    let token = answer.metadata().get("authorization").expect("a token").clone();
    postgres.kill();
    let (mut logout, mut delete) =
        (Request::new(()), Request::new(DeleteRequest { pwd: login.pwd.clone(), ..DeleteRequest::default() }));
    logout.metadata_mut().insert("authorization", token.clone());
    delete.metadata_mut().insert("authorization", token);
    // A session may be cached; that it has ended cannot be said.
    for refused in [
        client.login(login).await.expect_err("down"),
        client.logout(logout).await.expect_err("down"),
        user.delete(delete).await.expect_err("down"),
    ] {
        assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "E-001"), "{refused:?}");
    }
}
